"""The commands of the Makefile: notebooks run headless, sweeps, extraction. Nothing imports it."""
