"""Piano rolls of four collections of polyphonic music."""
