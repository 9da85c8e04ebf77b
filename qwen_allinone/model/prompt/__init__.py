"""Conversations and prompt files as the model reads them; no torch."""
