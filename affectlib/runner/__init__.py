"""What the Makefile calls: notebooks run headless, sweeps, extraction, weights. Nothing imports it."""
