"""The commands of the console: notebooks run headless, sweeps, extraction. Nothing imports it."""
