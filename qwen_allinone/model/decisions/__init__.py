"""Questions with options, and the decisions that answer them; no torch."""
