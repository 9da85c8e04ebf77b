"""Classifiers without a language model, fitted on the texts that the model learned from."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.accuracy.figure import Floor
from qwen_allinone.eval import LabelledRow
from qwen_allinone.eval.data_file import read_records
from qwen_allinone.eval.ngrams import LabelledText, NgramClassifier

_WHAT = "n-grams and logistic regression"


@dataclass(frozen=True)
class Learned:
    """Texts that the model learned from, as ``python -m training.learned`` writes them."""

    rows: Sequence[Mapping[str, Any]]
    """Each with ``text``, ``origin`` (``written`` or ``public``), ``routes``, ``mood`` and ``reply``."""

    @classmethod
    def from_file(cls, path: Path) -> "Learned":
        """Read a file of JSON lines.

        Raises:
            DataFileError: it cannot be read.
        """
        return cls([record.fields for record in read_records(path)])

    @property
    def public(self) -> bool:
        """True if texts of public data sets are among them."""
        return any(row["origin"] == "public" for row in self.rows)

    @property
    def texts(self) -> frozenset[str]:
        """Texts of known mood."""
        return frozenset(text for text, _ in _moods(self.rows))

    @property
    def replies(self) -> frozenset[str]:
        """Every reply, without case and white space."""
        return frozenset(bare(row["reply"]) for row in self.rows if row["reply"])

    def classifiers(self, *, written: bool) -> dict[str, NgramClassifier]:
        """Return classifiers of mood and route, fitted on the written texts or on all."""
        rows = [row for row in self.rows if row["origin"] == "written"] if written else self.rows
        return {"mood": NgramClassifier(_moods(rows)), "route": NgramClassifier(_routes(rows))}


def floor(classifier: NgramClassifier, rows: Sequence[LabelledRow]) -> Floor:
    """Return the accuracy of a classifier on these rows."""
    hits = sum(classifier.predict(row.text) in row.labels for row in rows)
    return Floor(hits / len(rows), _WHAT)


def bare(reply: str) -> str:
    """Return a reply without case and white space."""
    return re.sub(r"\s", "", reply).casefold()


def _moods(rows: Iterable[Mapping[str, Any]]) -> list[LabelledText]:
    return [(row["text"], row["mood"]) for row in rows if row["mood"] in ("positive", "negative")]


def _routes(rows: Iterable[Mapping[str, Any]]) -> list[LabelledText]:
    """Return every text with each of its routes."""
    return [(row["text"], route) for row in rows for route in row["routes"]]
