"""Pure scans over time."""
