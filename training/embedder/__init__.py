"""The bundled sentence embedder: its training, its figures, and the bounds that the memory takes from it."""
