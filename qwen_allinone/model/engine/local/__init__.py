"""The engine in this process: one scheduler in front of the weights."""
