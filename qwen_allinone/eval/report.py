"""Reports: every figure of one evaluation."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from qwen_allinone.eval import metrics
from qwen_allinone.eval.metrics import Baseline, ClassFigures, Confusion, Proportion, Reliability, SliceFigures
from qwen_allinone.eval.result_folder import write_together
from qwen_allinone.eval.sample import Sample

RESULT_FILES = ("samples.jsonl", "summary.json")
"""A line per row, and the report."""

_VERSIONED = ("qwen-allinone", "torch", "transformers", "scikit-learn")


@dataclass(frozen=True)
class EvalReport:
    """Every figure of one run; accuracy never without its interval, baseline and unscored count."""

    samples: tuple[Sample, ...] = field(repr=False)
    task: str
    data: str
    """Name of the labelled set."""
    data_digest: str
    model: str
    seconds: float
    """Wall-clock time of deciding all rows."""
    versions: Mapping[str, str]

    @classmethod
    def from_samples(
        cls, samples: Sequence[Sample], task: str, *, data: str, data_digest: str, model: str, seconds: float
    ) -> Self:
        """Make a report of these samples, with the versions of what is installed here."""
        return cls(tuple(samples), task, data, data_digest, model, seconds, _versions())

    @property
    def n(self) -> int:
        """Number of rows in the set."""
        return len(self.samples)

    @property
    def errors(self) -> Mapping[str, int]:
        """Error messages that came instead of a decision, the most frequent first."""
        return dict(Counter(sample.error for sample in self.samples if sample.error is not None).most_common())

    @property
    def abstained(self) -> int:
        """Number of rows whose decision was not sure enough."""
        return sum(sample.abstained for sample in self.samples)

    @property
    def unscored(self) -> int:
        """Number of rows without a prediction: abstentions and errors, blank rows included; never counted as wrong."""
        return self.n - self.accuracy.n

    @cached_property
    def accuracy(self) -> Proportion:
        """Share of the scored rows that are right."""
        return metrics.accuracy(self.samples)

    @cached_property
    def baseline(self) -> Baseline | None:
        """Accuracy of always giving the most frequent label; None if nothing was scored."""
        return metrics.baseline(self.samples)

    @cached_property
    def macro_f1(self) -> float | None:
        """Mean F1 of the labels that occur, in [0, 1]."""
        return metrics.macro_f1(self.samples)

    @cached_property
    def per_class(self) -> tuple[ClassFigures, ...]:
        """Precision, recall and F1 of every label."""
        return metrics.per_class(self.samples)

    @cached_property
    def confusion(self) -> Confusion:
        """Number of rows for each pair of true and predicted label."""
        return metrics.confusion(self.samples)

    @cached_property
    def calibration(self) -> Reliability:
        """Confidence against accuracy."""
        return metrics.reliability(self.samples)

    @cached_property
    def slices(self) -> tuple[SliceFigures, ...]:
        """Accuracy within every group of rows."""
        return metrics.slices(self.samples)

    def to_json(self) -> dict[str, Any]:
        """Return everything but the samples, in JSON types; figures of nothing are None."""
        return {
            "task": self.task,
            "model": self.model,
            "data": self.data,
            "data_digest": self.data_digest,
            "n": self.n,
            "scored": self.accuracy.n,
            "unscored": self.unscored,
            "abstained": self.abstained,
            "errors": dict(self.errors),
            **_share(self.accuracy),
            "macro_f1": self.macro_f1,
            "baseline": self.baseline and {"label": self.baseline.label, "accuracy": self.baseline.accuracy.value},
            "per_class": {each.label: _without(asdict(each), "label") for each in self.per_class},
            "confusion": {
                "labels": list(self.confusion.labels),
                "counts": [list(row) for row in self.confusion.counts],
            },
            "slices": {
                each.name: {"n": each.accuracy.n, "unscored": each.unscored, **_share(each.accuracy)}
                for each in self.slices
            },
            "calibration": {
                "expected_calibration_error": self.calibration.expected_error,
                "mean_confidence": self.calibration.mean_confidence,
                "bins": [asdict(each) for each in self.calibration.bins],
            },
            "seconds": self.seconds,
            "versions": dict(self.versions),
        }

    def save(self, folder: str | PathLike[str]) -> None:
        """Write ``samples.jsonl`` (a line per row) and ``summary.json`` (the report), in place of earlier ones.

        The two appear together or not at all.

        Raises:
            RunError: they cannot be written.
        """
        samples = "".join(json.dumps(sample.to_json(), ensure_ascii=False) + "\n" for sample in self.samples)
        summary = json.dumps(self.to_json(), ensure_ascii=False, indent=2) + "\n"
        write_together(Path(folder), dict(zip(RESULT_FILES, (samples, summary), strict=True)))


def _share(share: Proportion) -> dict[str, Any]:
    return {"accuracy": share.value, "interval": list(share.interval) if share.interval else None}


def _without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != name}


def _versions() -> Mapping[str, str]:
    from importlib.metadata import version
    from platform import python_version

    installed = {name: version(name) for name in _VERSIONED}
    return MappingProxyType({"python": python_version(), **installed})
