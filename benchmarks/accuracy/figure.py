"""A measured figure: its rows and its interval, next to a floor and a target."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

from qwen_allinone.eval import Sample
from qwen_allinone.eval.metrics import BINS, Proportion, accuracy, baseline, reliability, scored

_DRAWS = 200
CALIBRATION_ERROR = 0.06
"""Target of every expected calibration error."""


@dataclass(frozen=True)
class Floor:
    """A value that is reached without the model, or by one without a fault."""

    value: float
    what: str


@dataclass(frozen=True)
class Target:
    """A bound that is aimed at."""

    bound: float
    sense: Literal["at least", "above", "at most"] = "at least"

    def met_by(self, value: float) -> bool:
        """Return true if a figure lies on the right side of the bound."""
        if self.sense == "at least":
            return value >= self.bound
        return value > self.bound if self.sense == "above" else value <= self.bound


@dataclass(frozen=True)
class Figure:
    """One row of the result."""

    what: str
    n: int
    value: float | None
    """Share in [0, 1]; None of nothing."""
    interval: tuple[float, float] | None = None
    """95 % Wilson score interval of a share; None of anything else."""
    floor: Floor | None = None
    target: Target | None = None

    @classmethod
    def from_share(
        cls, what: str, share: Proportion, *, floor: Floor | None = None, target: Target | None = None
    ) -> "Figure":
        """Return a share with its interval."""
        return cls(what, share.n, share.value, share.interval, floor, target)

    @property
    def met(self) -> bool | None:
        """True if the target is reached; None where there is none, or nothing was measured."""
        return None if self.target is None or self.value is None else self.target.met_by(self.value)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, shares to four decimals."""
        return {
            "what": self.what,
            "n": self.n,
            "value": _rounded(self.value),
            "interval": [_rounded(bound) for bound in self.interval] if self.interval else None,
            "floor": {"value": _rounded(self.floor.value), "what": self.floor.what} if self.floor else None,
            "target": f"{self.target.sense} {_rounded(self.target.bound)}" if self.target else None,
            "met": self.met,
        }


def accuracy_figure(
    what: str, samples: Sequence[Sample], *, floor: Floor | None = None, target: Target | None = None
) -> Figure:
    """Return the accuracy of judged rows; the floor is by default the answer that most of them accept."""
    return Figure.from_share(what, accuracy(samples), floor=floor or _commonest(samples), target=target)


def calibration_figure(what: str, samples: Sequence[Sample]) -> Figure:
    """Return the expected calibration error of judged rows.

    Few rows show an error even where there is none, so the floor is what they would show on average if every
    probability meant exactly what it says.
    """
    found = reliability(samples)
    floor = Floor(_error_by_chance(samples), "calibrated without a fault, by chance alone") if found.n else None
    target = Target(CALIBRATION_ERROR, "at most")
    return Figure(f"{what}: calibration error", found.n, found.expected_error, floor=floor, target=target)


def _commonest(samples: Sequence[Sample]) -> Floor | None:
    constant = baseline(samples)
    if constant is None or constant.accuracy.value is None:
        return None
    return Floor(constant.accuracy.value, f"always {constant.label}")


def _error_by_chance(samples: Sequence[Sample]) -> float:
    """Return the mean calibration error of answers that are right as often as their probabilities say."""
    import numpy as np

    confidence = np.array([sample.decision.probability for sample in scored(samples) if sample.decision])
    places = [max(ceil(each * BINS), 1) - 1 for each in confidence]
    right = np.random.default_rng(0).random((_DRAWS, len(confidence))) < confidence
    gaps = (right - confidence) @ np.eye(BINS)[places]
    return float(np.abs(gaps).sum(axis=1).mean() / len(confidence))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
