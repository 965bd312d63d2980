"""Published experiments, each one command away: `python -m experiments list`."""
