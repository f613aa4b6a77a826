"""How fast the library is, beside what a user would otherwise write: ``python -m benchmarks``."""
