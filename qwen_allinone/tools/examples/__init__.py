"""Labelled texts from which the tools' own questions are learned; ``training/decision_examples.py`` chose them."""

import json
from functools import cache
from importlib.resources import files


@cache
def examples(name: str) -> dict[str, tuple[str, ...]]:
    """Return every label of ``NAME.jsonl`` with its texts."""
    lines = (files("qwen_allinone.tools.examples") / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    found: dict[str, list[str]] = {}
    for line in lines:
        row = json.loads(line)
        found.setdefault(row["label"], []).append(row["text"])
    return {label: tuple(texts) for label, texts in found.items()}
