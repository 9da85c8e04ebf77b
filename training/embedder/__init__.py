"""The recipe of the bundled sentence embedder."""
