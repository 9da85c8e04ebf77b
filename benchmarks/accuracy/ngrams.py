"""Classifiers without a language model, fitted on the texts that the model learned from."""

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.accuracy.figure import Floor
from qwen_allinone.eval import LabelledRow
from qwen_allinone.eval.data_file import read_records
from qwen_allinone.model.language import language_of

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

_MOST = 40_000
_WHAT = "n-grams and logistic regression"

Labelled = tuple[str, str]
"""A text and its label."""


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

    def classifiers(self, *, written: bool) -> "dict[str, LinearClassifier]":
        """Return classifiers of mood and route, fitted on the written texts or on all."""
        rows = [row for row in self.rows if row["origin"] == "written"] if written else self.rows
        return {"mood": LinearClassifier(_moods(rows)), "route": LinearClassifier(_routes(rows))}


class LinearClassifier:
    """TF-IDF of one to three characters, in English also of one and two words; one classifier per language.

    Args:
        rows: what it learns from; of more than ``most`` in a language, so many are drawn.
        most: rows of a language.
    """

    def __init__(self, rows: Iterable[Labelled], *, most: int = _MOST) -> None:
        groups: dict[str, list[Labelled]] = {}
        for text, label in rows:
            groups.setdefault(language_of(text), []).append((text, label))
        drawn = {name: random.Random(0).sample(group, min(most, len(group))) for name, group in groups.items()}
        self._fitted = {name: _fitted(group, words=name == "en") for name, group in drawn.items()}

    def predict(self, text: str) -> str | None:
        """Return the label; None in a language of which nothing was learned."""
        fitted = self._fitted.get(language_of(text))
        return None if fitted is None else str(fitted.predict([text])[0])

    def floor(self, rows: Sequence[LabelledRow]) -> Floor:
        """Return its accuracy on these rows."""
        hits = sum(self.predict(row.text) in row.labels for row in rows)
        return Floor(hits / len(rows), _WHAT)


def bare(reply: str) -> str:
    """Return a reply without case and white space."""
    return re.sub(r"\s", "", reply).casefold()


def _moods(rows: Iterable[Mapping[str, Any]]) -> list[Labelled]:
    return [(row["text"], row["mood"]) for row in rows if row["mood"] in ("positive", "negative")]


def _routes(rows: Iterable[Mapping[str, Any]]) -> list[Labelled]:
    """Return every text with each of its routes."""
    return [(row["text"], route) for row in rows for route in row["routes"]]


def _fitted(rows: Sequence[Labelled], *, words: bool) -> "Pipeline":
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    parts = [TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True)]
    if words:
        parts.append(TfidfVectorizer(analyzer="word", ngram_range=(1, 2), sublinear_tf=True))
    pipeline = make_pipeline(make_union(*parts), LogisticRegression(C=10, max_iter=500))
    texts, labels = zip(*rows, strict=True)
    return pipeline.fit(texts, labels)
