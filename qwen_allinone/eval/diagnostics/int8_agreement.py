"""Decisions of a model against those of its int8 copy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from qwen_allinone.errors import CapabilityError
from qwen_allinone.eval.diagnostics.evaluations import Evaluations
from qwen_allinone.eval.diagnostics.figures import accuracy_json, proportion_json
from qwen_allinone.eval.diagnostics.task import Task
from qwen_allinone.eval.metrics import PairedTest, Proportion
from qwen_allinone.eval.report import EvalReport
from qwen_allinone.model import SharedQwen
from qwen_allinone.model.decisions.questions import examples_of
from qwen_allinone.model.weights import int8
from qwen_allinone.model.weights.precision import CLEAR_MARGIN
from qwen_allinone.model.weights.report import QuantizationReport


@dataclass(frozen=True)
class Agreement:
    """Decisions in fp32 and in int8 over the same rows; rows that either could not decide are left out."""

    fp32: EvalReport
    int8: EvalReport

    @property
    def all(self) -> Proportion:
        """Share of the rows that are decided the same."""
        return Proportion(sum(same for same, _ in self._rows), len(self._rows))

    @property
    def clear(self) -> Proportion:
        """Share of the rows with a margin above ``CLEAR_MARGIN`` in fp32 that are decided the same."""
        clear = [same for same, margin in self._rows if margin > CLEAR_MARGIN]
        return Proportion(sum(clear), len(clear))

    @property
    def paired(self) -> PairedTest:
        """Rows that fp32 alone, and int8 alone, got right."""
        pairs = list(zip(self.fp32.samples, self.int8.samples, strict=True))
        compared = [pair for pair in pairs if None not in (pair[0].correct, pair[1].correct)]
        return PairedTest.from_hits(
            [bool(one.correct) for one, _ in compared], [bool(two.correct) for _, two in compared]
        )

    @cached_property
    def _rows(self) -> list[tuple[bool, float]]:
        """Sameness of the decision and margin in fp32, of every row."""
        rows = []
        for one, other in zip(self.fp32.samples, self.int8.samples, strict=True):
            if one.decision is not None and other.decision is not None:
                rows.append((one.decision.option == other.decision.option, one.decision.margin or 0.0))
        return rows

    def to_json(self) -> dict[str, Any]:
        """Return both shares, the accuracy of the int8 copy, and whether it differs by more than chance."""
        return {
            "all": proportion_json(self.all),
            "clear": proportion_json(self.clear),
            "int8": accuracy_json(self.int8),
            "paired": {
                "only_fp32_right": self.paired.first,
                "only_int8_right": self.paired.second,
                "p_value": self.paired.p_value,
            },
        }


@dataclass(frozen=True)
class Int8Agreement:
    """Agreement on every task, or the reason why there is none."""

    tasks: Mapping[str, Agreement]
    """Of scored decisions."""
    learned: Mapping[str, Agreement] = field(default_factory=dict)
    """Of learned decisions, on the tasks whose questions have examples."""
    reason: str | None = None
    """Reason why the model has no int8 copy here; None if it has."""

    @property
    def available(self) -> bool:
        """True if there was an int8 copy to compare with."""
        return self.reason is None

    def to_json(self) -> dict[str, Any]:
        """Return the agreement by task."""
        if not self.available:
            return {"available": False, "reason": self.reason}
        agreements = {name: agreement.to_json() for name, agreement in self.tasks.items()}
        for name, agreement in self.learned.items():
            agreements[name]["learned"] = agreement.to_json()
        return {"available": True, "margin": CLEAR_MARGIN, "layers": "all linear layers int8", **agreements}


def compare_int8(evaluations: Evaluations, tasks: Sequence[Task]) -> Int8Agreement:
    """Decide every task again with an int8 copy of the model."""
    try:
        copy = int8_copy(evaluations.qwen)
    except CapabilityError as error:
        return Int8Agreement({}, reason=str(error))
    copied = Evaluations(copy, evaluations.progress)
    scored = {task.name: Agreement(evaluations.report(task), copied.report(task)) for task in tasks}
    learned = {}
    for task in tasks:
        if any(examples_of(case.question) for case in task.cases):
            learned[task.name] = Agreement(evaluations.report(task, learned=True), copied.report(task, learned=True))
    return Int8Agreement(scored, learned)


def int8_copy(qwen: SharedQwen) -> SharedQwen:
    """Return a copy whose linear layers have int8 weights, a quarter of the original's memory on top of it.

    Raises:
        CapabilityError: the model is not in fp32 on the CPU, or this torch has no int8 operators for it.
    """
    model, tokenizer = qwen.local.model, qwen.local.tokenizer
    dtype = (qwen.quantization or QuantizationReport.from_model(model)).dtype
    if dtype != "fp32" or model.device.type != "cpu":
        raise CapabilityError(f"int8 is compared with fp32 on the CPU; this model is in {dtype} on {model.device}")
    if not int8.available():
        raise CapabilityError(f"torch {torch.__version__} has no int8 operators for this CPU; try another torch")
    quantized = int8.quantized(model)
    return SharedQwen.from_model(quantized, tokenizer, name=f"{qwen.name} (int8)", capabilities=qwen.capabilities)
