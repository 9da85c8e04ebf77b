"""Evaluations of one model that several checks share."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from qwen_allinone.eval.case import evaluate
from qwen_allinone.eval.diagnostics.task import StepProgress, Task
from qwen_allinone.eval.report import EvalReport
from qwen_allinone.model import Calibration

if TYPE_CHECKING:
    from qwen_allinone.model import SharedQwen
    from qwen_allinone.model.engine.capabilities import Layout

CORRECTIONS: Mapping[str, Calibration] = {
    "none": Calibration(),
    "prior": Calibration(prior=True),
    "length_normalized": Calibration(length_normalized=True),
    "permutations": Calibration(permutations=4),
}
"""Corrections of a model's bias by name."""


class Evaluations:
    """Evaluations of one model; each is run once, however many checks ask for it.

    Args:
        qwen: the model.
        progress: called as rows are done.
    """

    def __init__(self, qwen: "SharedQwen", progress: StepProgress | None = None) -> None:
        self.qwen = qwen
        self.progress = progress
        self._reports: dict[tuple[str, Layout, str, bool], EvalReport] = {}

    def report(
        self, task: Task, *, layout: "Layout | None" = None, correction: str = "none", learned: bool = False
    ) -> EvalReport:
        """Return the report on a task.

        Args:
            task: known by its name.
            layout: by default as the model declares.
            correction: one of ``CORRECTIONS``, whatever the model declares.
            learned: let heads decide what has examples; otherwise everything is scored.
        """
        key = (task.name, layout or self.qwen.capabilities.layout, correction, learned)
        if key not in self._reports:
            self._reports[key] = self._evaluate(task, key[1], correction, learned)
        return self._reports[key]

    def tell(self, step: str, done: int, total: int) -> None:
        """Pass on how far a step is."""
        if self.progress is not None:
            self.progress(f"{self.qwen.name}: {step}", done, total)

    def _evaluate(self, task: Task, layout: "Layout", correction: str, learned: bool) -> EvalReport:
        return evaluate(
            task.name,
            task.cases,
            self.qwen,
            data=task.data,
            layout=layout,
            calibration=CORRECTIONS[correction],
            learned=learned,
            progress=partial(self.tell, f"{task.name}, {layout}, correction {correction}"),
        )
