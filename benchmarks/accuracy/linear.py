"""A linear classifier over character n-grams: what is reached without a language model."""

import random
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from benchmarks.accuracy.figure import Floor
from benchmarks.accuracy.training_rows import Labelled
from qwen_allinone.eval import LabelledRow
from qwen_allinone.model.language import language_of

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

_MOST = 40_000
_WHAT = "n-grams and logistic regression"


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
        """The label; None in a language of which nothing was learnt."""
        fitted = self._fitted.get(language_of(text))
        return None if fitted is None else str(fitted.predict([text])[0])

    def floor(self, rows: Sequence[LabelledRow]) -> Floor:
        """Its accuracy on these rows."""
        hits = sum(self.predict(row.text) in row.labels for row in rows)
        return Floor(hits / len(rows), _WHAT)


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
