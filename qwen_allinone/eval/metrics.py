"""What judged rows add up to.

All figures are over the scored rows. Rows that could not be judged, by an abstention or an error, are never wrong:
they are counted apart.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from qwen_allinone.eval.sample import Sample

BINS = 15


@dataclass(frozen=True)
class Proportion:
    """How many of how many."""

    hits: int
    n: int

    @property
    def value(self) -> float | None:
        """In [0, 1]; None of nothing."""
        return self.hits / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % Wilson score interval (Wilson, 1927), low and high in [0, 1]; None of nothing."""
        if not self.n:
            return None
        from scipy.stats import binomtest

        found = binomtest(self.hits, self.n).proportion_ci(0.95, method="wilson")
        return float(found.low), float(found.high)


@dataclass(frozen=True)
class ClassFigures:
    """How well one label is found; each figure in [0, 1], and 0 where its denominator is."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    """Scored rows that count for this label."""


@dataclass(frozen=True)
class Confusion:
    """Which label was taken for which."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    """*Shape:* (labels, labels). A row per true label, a column per predicted one."""


@dataclass(frozen=True)
class Baseline:
    """What always giving the same answer would reach."""

    label: str
    accuracy: Proportion


@dataclass(frozen=True)
class Bin:
    """Rows whose confidence lies in one of equally wide intervals."""

    n: int
    confidence: float
    """Mean, in [0, 1]."""
    accuracy: float


@dataclass(frozen=True)
class Reliability:
    """Whether probabilities mean what they say."""

    bins: tuple[Bin, ...]
    """Those that hold rows, from low to high confidence."""

    @property
    def n(self) -> int:
        """Scored rows."""
        return sum(each.n for each in self.bins)

    @property
    def mean_confidence(self) -> float | None:
        """Mean probability of the predicted option; above the accuracy, the model is too sure of itself."""
        return sum(each.n * each.confidence for each in self.bins) / self.n if self.n else None

    @property
    def expected_error(self) -> float | None:
        """Expected calibration error (Naeini et al., 2015): mean distance of confidence and accuracy over the bins."""
        if not self.n:
            return None
        return sum(each.n * abs(each.confidence - each.accuracy) for each in self.bins) / self.n


@dataclass(frozen=True)
class SliceFigures:
    """Accuracy within one group of rows."""

    name: str
    accuracy: Proportion
    unscored: int


def scored(samples: Iterable[Sample]) -> list[Sample]:
    """The rows that were judged."""
    return [sample for sample in samples if sample.predicted is not None]


def accuracy(samples: Iterable[Sample]) -> Proportion:
    """Share of the scored rows whose prediction is an accepted label."""
    judged = scored(samples)
    return Proportion(sum(bool(sample.correct) for sample in judged), len(judged))


def baseline(samples: Iterable[Sample]) -> Baseline | None:
    """The constant answer that most scored rows accept; ties go to the first by name. None without scored rows."""
    judged = scored(samples)
    if not judged:
        return None
    counts = Counter(label for sample in judged for label in sample.row.labels)
    label = min(counts, key=lambda name: (-counts[name], name))
    return Baseline(label, Proportion(counts[label], len(judged)))


def labels_of(samples: Iterable[Sample]) -> tuple[str, ...]:
    """Every label that a scored row counts for or was given, and every option it had, sorted."""
    judged = scored(samples)
    options = {option for sample in judged if sample.decision for option in sample.decision.probabilities}
    return tuple(sorted(options | {sample.truth for sample in judged}))


def per_class(samples: Sequence[Sample]) -> tuple[ClassFigures, ...]:
    """Precision, recall and F1 of every label.

    A row that accepts several labels counts for the predicted one if that is accepted, else for its first.
    """
    from sklearn.metrics import precision_recall_fscore_support

    judged, labels = scored(samples), labels_of(samples)
    if not judged:
        return ()
    figures = precision_recall_fscore_support(
        [sample.truth for sample in judged], [sample.predicted for sample in judged], labels=labels, zero_division=0
    )
    return tuple(
        ClassFigures(label, float(precision), float(recall), float(f1), int(support))
        for label, precision, recall, f1, support in zip(labels, *figures, strict=True)
    )


def macro_f1(samples: Sequence[Sample]) -> float | None:
    """Unweighted mean F1 of the labels that occur, as truth or as prediction; None without scored rows."""
    judged = scored(samples)
    occurring = {sample.truth for sample in judged} | {sample.predicted for sample in judged}
    values = [figures.f1 for figures in per_class(samples) if figures.label in occurring]
    return sum(values) / len(values) if values else None


def confusion(samples: Sequence[Sample]) -> Confusion:
    """How often each label was taken for each; rows of several labels as in ``per_class``."""
    judged, labels = scored(samples), labels_of(samples)
    counts = Counter((sample.truth, sample.predicted) for sample in judged)
    return Confusion(labels, tuple(tuple(counts[truth, given] for given in labels) for truth in labels))


def reliability(samples: Iterable[Sample], *, bins: int = BINS) -> Reliability:
    """Confidence against accuracy in ``bins`` equally wide intervals, each closed on its right."""
    from math import ceil

    groups: dict[int, list[tuple[float, bool]]] = {}
    for sample in scored(samples):
        if sample.decision is not None:
            confidence = sample.decision.probability
            groups.setdefault(max(ceil(confidence * bins), 1), []).append((confidence, bool(sample.correct)))
    return Reliability(tuple(_bin(groups[index]) for index in sorted(groups)))


def _bin(rows: Sequence[tuple[float, bool]]) -> Bin:
    count = len(rows)
    return Bin(count, sum(confidence for confidence, _ in rows) / count, sum(right for _, right in rows) / count)


def slices(samples: Iterable[Sample]) -> tuple[SliceFigures, ...]:
    """Accuracy within every slice: languages, then plain names, then columns; a row counts in each of its slices."""
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        for name in dict.fromkeys(sample.row.slices):
            groups.setdefault(name, []).append(sample)
    found = {name: accuracy(groups[name]) for name in sorted(groups, key=_slice_order)}
    return tuple(SliceFigures(name, share, len(groups[name]) - share.n) for name, share in found.items())


def _slice_order(name: str) -> tuple[bool, bool, str]:
    return not name.startswith("language:"), ":" in name, name
