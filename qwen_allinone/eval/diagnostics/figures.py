"""Figures in JSON types; those of nothing are None."""

from typing import Any

from qwen_allinone.eval.metrics import Proportion
from qwen_allinone.eval.report import EvalReport


def proportion_json(proportion: Proportion) -> dict[str, Any]:
    """Return a share with its n and its 95 % Wilson interval."""
    interval = proportion.interval
    return {"share": proportion.value, "n": proportion.n, "interval": list(interval) if interval else None}


def accuracy_json(report: EvalReport) -> dict[str, Any]:
    """Return the accuracy over the scored rows, the baseline, and the errors of the other rows, if any."""
    figures = proportion_json(report.accuracy)
    found = {
        "accuracy": figures["share"],
        "n": figures["n"],
        "interval": figures["interval"],
        "baseline": report.baseline.accuracy.value if report.baseline else None,
        "unscored": report.unscored,
    }
    return found | {"errors": dict(report.errors)} if report.errors else found
