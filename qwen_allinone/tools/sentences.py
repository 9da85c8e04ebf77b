"""Sentences of a text, in both languages."""

import re

_SENTENCE = re.compile(r"[^。！？!?；;\n]+?(?:[。！？!?；;\n]+[”’」』）)]*|\.(?=\s|$)|$)")


def split_sentences(text: str) -> list[str]:
    """The sentences in their order, with their closing marks, without surrounding white space."""
    return [piece.strip() for piece in _SENTENCE.findall(text) if piece.strip()]
