"""Texts of the public data sets that took no part in the training."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from qwen_allinone.eval import LabelledRow
from qwen_allinone.model.language import language_of
from training.public_sets import natural, rows_of


def texts(data: Path, file: str, column: str, **kept: Collection[str]) -> list[str]:
    """A column of a file as plain text, each text once; of the rows that have one of the values in each kept column."""
    found = (natural(row[column]).strip() for row in _rows(data, file, kept))
    return list(dict.fromkeys(text for text in found if text))


def labelled(data: Path, file: str, **kept: Collection[str]) -> list[tuple[str, str]]:
    """Texts with their labels, each text once; of the same rows."""
    found = {natural(row["text"]).strip(): row["label"] for row in _rows(data, file, kept)}
    return [(text, label) for text, label in found.items() if text]


def first_turns(data: Path, file: str) -> list[str]:
    """How the dialogues of a file begin, each beginning once."""
    return list(dict.fromkeys(row["dialogue"][0].strip() for row in rows_of(data / f"{file}.jsonl.gz")))


def rows(pairs: Iterable[tuple[str, str]]) -> list[LabelledRow]:
    """Texts and labels to be judged."""
    return [
        LabelledRow(str(number), text, (label,), language_of(text))
        for number, (text, label) in enumerate(pairs, start=1)
    ]


def _rows(data: Path, file: str, kept: Mapping[str, Collection[str]]) -> list[dict[str, Any]]:
    found = rows_of(data / f"{file}.jsonl.gz")
    return [row for row in found if all(row[column] in values for column, values in kept.items())]
