"""Metrics over decided rows: accuracy, precision, recall, F1, confusion, calibration.

All figures are over the scored rows. Rows without a decision, after an abstention or an error, are never wrong: they
are counted apart.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from qwen_allinone.eval.sample import Sample

BINS = 15
"""Number of confidence intervals."""


@dataclass(frozen=True)
class Proportion:
    """Hits among a number of trials."""

    hits: int
    n: int

    @property
    def value(self) -> float | None:
        """Hits by trials, in [0, 1]; None if there were none."""
        return self.hits / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Ends of the 95 % Wilson score interval (Wilson, 1927), each in [0, 1]; None if there were no trials."""
        if not self.n:
            return None
        from scipy.stats import binomtest

        found = binomtest(self.hits, self.n).proportion_ci(0.95, method="wilson")
        return float(found.low), float(found.high)


@dataclass(frozen=True)
class PairedTest:
    """Two ways to decide, on the same rows."""

    first: int
    """Rows that only the first got right."""
    second: int
    """Rows that only the second got right."""

    @classmethod
    def from_hits(cls, first: Sequence[bool], second: Sequence[bool]) -> "PairedTest":
        """Count the rows on which they differ."""
        pairs = list(zip(first, second, strict=True))
        return cls(sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs))

    @property
    def p_value(self) -> float:
        """Probability, in [0, 1], of so great a difference by chance: the exact test of McNemar (1947)."""
        from scipy.stats import binomtest

        differ = self.first + self.second
        return float(binomtest(self.first, differ).pvalue) if differ else 1.0


@dataclass(frozen=True)
class OperatingPoint:
    """A probability from which decisions are accepted, and what that gives."""

    threshold: float
    """In [0, 1]."""
    coverage: Proportion
    """Share of the rows that are accepted."""
    error: Proportion
    """Share of the accepted rows that are wrong."""


@dataclass(frozen=True)
class ClassFigures:
    """Precision, recall and F1 of one label; each in [0, 1], and 0 where its denominator is 0."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    """Scored rows that count for this label."""


@dataclass(frozen=True)
class Confusion:
    """Number of rows for each pair of true and predicted label."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    """*Shape:* (labels, labels). A row per true label, a column per predicted one."""


@dataclass(frozen=True)
class Baseline:
    """Accuracy of always giving the same answer."""

    label: str
    accuracy: Proportion


@dataclass(frozen=True)
class Bin:
    """Rows whose confidence lies in one of equally wide intervals."""

    n: int
    confidence: float
    """Mean probability of the predicted options, in [0, 1]."""
    accuracy: float


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy: the figures of a reliability diagram."""

    bins: tuple[Bin, ...]
    """Bins that hold rows, from low to high confidence."""

    @property
    def n(self) -> int:
        """Number of scored rows."""
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
    """Return the rows with a prediction."""
    return [sample for sample in samples if sample.predicted is not None]


def accuracy(samples: Iterable[Sample]) -> Proportion:
    """Return the share of the scored rows whose prediction is an accepted label."""
    rows = scored(samples)
    return Proportion(sum(bool(sample.correct) for sample in rows), len(rows))


def baseline(samples: Iterable[Sample]) -> Baseline | None:
    """Return the constant answer that most scored rows accept, on a tie the first by name; None without scored rows."""
    rows = scored(samples)
    if not rows:
        return None
    counts: Counter[str] = Counter()
    for sample in rows:
        counts.update(sample.row.labels)
    label = min(counts, key=lambda name: (-counts[name], name))
    return Baseline(label, Proportion(counts[label], len(rows)))


def labels_of(samples: Iterable[Sample]) -> tuple[str, ...]:
    """Return every label that a scored row counts for, and every option that it had, sorted."""
    labels: set[str] = set()
    for sample in scored(samples):
        labels.add(sample.truth)
        labels.update(sample.decision.probabilities if sample.decision else ())
    return tuple(sorted(labels))


def per_class(samples: Sequence[Sample]) -> tuple[ClassFigures, ...]:
    """Compute precision, recall and F1 of every label.

    A row that accepts several labels counts for the predicted one if that is accepted, else for its first.
    """
    from sklearn.metrics import precision_recall_fscore_support

    rows, labels = scored(samples), labels_of(samples)
    if not rows:
        return ()
    truths, predictions = [sample.truth for sample in rows], [sample.predicted for sample in rows]
    figures = precision_recall_fscore_support(truths, predictions, labels=labels, zero_division=0)
    found = []
    for label, precision, recall, f1, support in zip(labels, *figures, strict=True):
        found.append(ClassFigures(label, float(precision), float(recall), float(f1), int(support)))
    return tuple(found)


def macro_f1(samples: Sequence[Sample]) -> float | None:
    """Return the unweighted mean F1 of the labels that occur, as truth or prediction; None without scored rows."""
    occurring: set[str | None] = set()
    for sample in scored(samples):
        occurring |= {sample.truth, sample.predicted}
    values = [figures.f1 for figures in per_class(samples) if figures.label in occurring]
    return sum(values) / len(values) if values else None


def confusion(samples: Sequence[Sample]) -> Confusion:
    """Count each pair of true and predicted label; rows of several labels as in ``per_class``."""
    labels = labels_of(samples)
    counts = Counter((sample.truth, sample.predicted) for sample in scored(samples))
    table = []
    for truth in labels:
        table.append(tuple(counts[truth, predicted] for predicted in labels))
    return Confusion(labels, tuple(table))


def reliability(samples: Iterable[Sample], *, bins: int = BINS) -> Reliability:
    """Compare confidence with accuracy in ``bins`` equally wide intervals, each closed on its right."""
    from math import ceil

    groups: dict[int, list[tuple[float, bool]]] = {}
    for sample in scored(samples):
        if sample.decision is not None:
            confidence = sample.decision.probability
            index = max(ceil(confidence * bins), 1)  # closed on the right, so 0 itself goes to the first bin
            groups.setdefault(index, []).append((confidence, bool(sample.correct)))
    return Reliability(tuple(_bin(groups[index]) for index in sorted(groups)))


def _bin(rows: Sequence[tuple[float, bool]]) -> Bin:
    count = len(rows)
    return Bin(count, sum(confidence for confidence, _ in rows) / count, sum(right for _, right in rows) / count)


def operating_point(
    samples: Iterable[Sample], *, max_error: float | None = None, coverage: float | None = None
) -> OperatingPoint | None:
    """Return the lowest threshold whose error is small enough, or the highest that accepts enough rows.

    Args:
        samples: decided rows.
        max_error: largest share of the accepted rows that may be wrong, in [0, 1].
        coverage: smallest share of the rows that must be accepted, in (0, 1]; instead of ``max_error``.

    Returns:
        None if no threshold gives it.
    """
    if (max_error is None) is (coverage is None):
        raise TypeError("give either max_error or coverage")
    ranked = []
    for sample in scored(samples):
        if sample.decision is not None:
            ranked.append((sample.decision.probability, bool(sample.correct)))
    ranked.sort(reverse=True)
    best, wrong = None, 0
    for count, (probability, right) in enumerate(ranked, start=1):
        wrong += not right
        if count < len(ranked) and ranked[count][0] == probability:
            continue  # rows of one probability are accepted together
        point = OperatingPoint(probability, Proportion(count, len(ranked)), Proportion(wrong, count))
        if coverage is not None and count >= coverage * len(ranked):
            return point
        if max_error is not None and wrong <= max_error * count:
            best = point
    return best


def slices(samples: Iterable[Sample]) -> tuple[SliceFigures, ...]:
    """Compute the accuracy within every slice: languages, then plain names, then columns.

    A row counts in each of its slices.
    """
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        for name in dict.fromkeys(sample.row.slices):
            groups.setdefault(name, []).append(sample)
    found = []
    for name in sorted(groups, key=_slice_order):
        share = accuracy(groups[name])
        found.append(SliceFigures(name, share, len(groups[name]) - share.n))
    return tuple(found)


def _slice_order(name: str) -> tuple[bool, bool, str]:
    return not name.startswith("language:"), ":" in name, name
