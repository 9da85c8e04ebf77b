"""Accuracy of one model in several settings: layouts of the prompt, corrections of its bias."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from qwen_allinone.eval.diagnostics.evaluations import CORRECTIONS, Evaluations
from qwen_allinone.eval.diagnostics.figures import accuracy_json
from qwen_allinone.eval.diagnostics.task import Task
from qwen_allinone.eval.report import EvalReport
from qwen_allinone.model.engine.capabilities import Layout


@dataclass(frozen=True)
class Comparison:
    """Reports on the same rows in several settings."""

    reports: Mapping[str, Mapping[str, EvalReport]]
    """Setting to task to report."""

    def to_json(self) -> dict[str, Any]:
        """Return the accuracy of each task in each setting."""
        found = {}
        for setting, reports in self.reports.items():
            found[setting] = {task: accuracy_json(report) for task, report in reports.items()}
        return found


def compare_layouts(evaluations: Evaluations, tasks: Sequence[Task]) -> Comparison:
    """Decide with the text first and with the instruction first, without corrections."""
    reports: dict[str, dict[str, EvalReport]] = {}
    for layout in get_args(Layout):
        reports[layout] = {task.name: evaluations.report(task, layout=layout) for task in tasks}
    return Comparison(reports)


def compare_corrections(evaluations: Evaluations, tasks: Sequence[Task]) -> Comparison:
    """Decide without corrections and with each of them, in the layout that the model declares."""
    reports: dict[str, dict[str, EvalReport]] = {}
    for correction in CORRECTIONS:
        reports[correction] = {task.name: evaluations.report(task, correction=correction) for task in tasks}
    return Comparison(reports)
