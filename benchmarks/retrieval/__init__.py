"""Retrieval by the bundled embedder, on texts that it did not learn from."""
