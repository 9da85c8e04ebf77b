"""Decisions that change with the order in which the options are listed, which changes nothing about the question."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from qwen_allinone.errors import QwenAllInOneError
from qwen_allinone.eval.case import Case
from qwen_allinone.eval.diagnostics.evaluations import Evaluations
from qwen_allinone.eval.diagnostics.figures import proportion_json
from qwen_allinone.eval.diagnostics.task import Task
from qwen_allinone.eval.metrics import Proportion
from qwen_allinone.model import Choice

if TYPE_CHECKING:
    from qwen_allinone.model import SharedQwen


@dataclass(frozen=True)
class RowFlips:
    """Changes of order under which one decision becomes another."""

    reversed: bool
    rotated: bool
    """True if at least one rotation changes the decision."""


@dataclass(frozen=True)
class TaskFlips:
    """Share of the decisions of a task that change with the order of the options."""

    rows: tuple[RowFlips, ...]
    unscored: int
    """Number of rows that could not be decided."""

    @property
    def reversed(self) -> Proportion:
        """Share that changes when the options are reversed."""
        return Proportion(sum(row.reversed for row in self.rows), len(self.rows))

    @property
    def rotated(self) -> Proportion:
        """Share that changes under at least one rotation."""
        return Proportion(sum(row.rotated for row in self.rows), len(self.rows))

    @property
    def any(self) -> Proportion:
        """Share that changes under at least one of these orders."""
        return Proportion(sum(row.reversed or row.rotated for row in self.rows), len(self.rows))

    def to_json(self) -> dict[str, Any]:
        """Return the shares with their n and intervals."""
        return {
            "reversed": proportion_json(self.reversed),
            "rotated": proportion_json(self.rotated),
            "any": proportion_json(self.any),
            "unscored": self.unscored,
        }


@dataclass(frozen=True)
class OptionFlips:
    """Flips of every task."""

    tasks: Mapping[str, TaskFlips]

    def to_json(self) -> dict[str, Any]:
        """Return the flips by the names of the tasks."""
        return {name: flips.to_json() for name, flips in self.tasks.items()}


def count_option_flips(evaluations: Evaluations, tasks: Sequence[Task]) -> OptionFlips:
    """Decide every row with its options in every order that is compared."""
    return OptionFlips({task.name: _task_flips(evaluations, task) for task in tasks})


def _task_flips(evaluations: Evaluations, task: Task) -> TaskFlips:
    rows: list[RowFlips] = []
    for done, case in enumerate(task.cases, start=1):
        with suppress(QwenAllInOneError):  # such a row is unscored
            rows.append(_row_flips(evaluations.qwen, case))
        evaluations.tell(f"{task.name}, option orders", done, len(task.cases))
    return TaskFlips(tuple(rows), unscored=len(task.cases) - len(rows))


def _row_flips(qwen: "SharedQwen", case: Case) -> RowFlips:
    """Decide one text with all orders in one pass."""
    questions = {"listed": case.question, **_reordered(case)}
    calibration = replace(qwen.calibration, order="given")
    decisions = qwen.decide(case.row.text, questions, calibration=calibration, learned=False)
    listed = decisions.pop("listed").option
    changed = {name for name, decision in decisions.items() if decision.option != listed}
    return RowFlips("reversed" in changed, bool(changed - {"reversed"}))


def _reordered(case: Case) -> dict[str, Choice]:
    """Return the question with its options reversed and in every rotation; only the options of a choice ever move."""
    if case.question.type != "choice":
        return {}
    labels = list(case.question.criteria)
    orders = {"reversed": labels[::-1]}
    for start in range(1, len(labels)):
        orders[f"rotated {start}"] = labels[start:] + labels[:start]
    return {name: _in_order(case, order) for name, order in orders.items()}


def _in_order(case: Case, labels: Sequence[str]) -> Choice:
    criteria = {label: case.question.criteria[label] for label in labels}
    return Choice(instructions=case.question.instructions, criteria=criteria)
