"""The floor under every accuracy: a linear classifier on character n-grams, without a language model."""

import random
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from qwen_allinone.model.prompt.language import language_of

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

MAX_ROWS = 40_000
"""Rows of a language that are learned from."""
FOLDS = 5
_WORD = re.compile(r"\b\w\w+\b")

LabelledText = tuple[str, str]
"""A text and its label."""


class NgramClassifier:
    """TF-IDF of one to three characters, in English also of one and two words; one classifier per language.

    Args:
        rows: what it learns from; of more than ``max_rows`` in a language, so many are drawn.
        max_rows: rows of a language.
    """

    def __init__(self, rows: Iterable[LabelledText], *, max_rows: int = MAX_ROWS) -> None:
        groups: dict[str, list[LabelledText]] = {}
        for text, label in rows:
            groups.setdefault(language_of(text), []).append((text, label))
        self._fitted: dict[str, Pipeline | str] = {}
        for language, group in groups.items():
            drawn = random.Random(0).sample(group, min(max_rows, len(group)))
            self._fitted[language] = _fitted(drawn, words=language == "en")

    def predict(self, text: str) -> str | None:
        """Return the label; None in a language of which nothing was learned."""
        fitted = self._fitted.get(language_of(text))
        if fitted is None or isinstance(fitted, str):
            return fitted
        return str(fitted.predict([text])[0])


def predictions_out_of_fold(rows: Sequence[LabelledText], *, judged: int) -> dict[int, str | None]:
    """Return the place of a row to the label that a classifier gives it which learned from the other folds.

    Args:
        rows: of which one fold in five is left out at a time.
        judged: folds are predicted until so many rows are.
    """
    places = list(range(len(rows)))
    random.Random(0).shuffle(places)
    places.sort(key=lambda place: rows[place][1])  # a label's rows go to the folds in turn
    found: dict[int, str | None] = {}
    for fold in range(FOLDS):
        out = places[fold::FOLDS]
        rest = set(out)
        classifier = NgramClassifier(row for place, row in enumerate(rows) if place not in rest)
        for place in out:
            found[place] = classifier.predict(rows[place][0])
        if len(found) >= judged:
            break
    return found


def _fitted(rows: Sequence[LabelledText], *, words: bool) -> "Pipeline | str":
    """Fit a classifier; a single label is the answer itself."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    texts, labels = zip(*rows, strict=True)
    if len(set(labels)) == 1:
        return str(labels[0])
    parts = [TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True)]
    if words and any(_WORD.search(text) for text in texts):
        parts.append(TfidfVectorizer(analyzer="word", ngram_range=(1, 2), sublinear_tf=True))
    pipeline = make_pipeline(make_union(*parts), LogisticRegression(C=10, max_iter=500))
    return pipeline.fit(texts, labels)
