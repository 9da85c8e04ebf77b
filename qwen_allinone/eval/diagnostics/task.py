"""Tasks: labelled sets with a question about each of their texts."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from qwen_allinone.eval.case import Case
from qwen_allinone.eval.dataset import LabelledSet

StepProgress = Callable[[str, int, int], None]
"""Called with the name of a step, the number of its rows that are done, and of all its rows."""


@dataclass(frozen=True)
class Task:
    """One question about the texts of a labelled set."""

    name: str
    """Name of the question, such as ``mood``."""
    data: str
    """Name of the labelled set."""
    cases: tuple[Case, ...]

    @cached_property
    def labelled_set(self) -> LabelledSet:
        """Texts and right answers, without the questions."""
        return LabelledSet(self.data, tuple(case.row for case in self.cases))

    def spaced(self, rows: int | None) -> "Task":
        """Return the task with so many of its cases, evenly spaced; None: all of them."""
        count = len(self.cases)
        if rows is None or rows >= count:
            return self
        return replace(self, cases=tuple(self.cases[index * count // rows] for index in range(rows)))

    def to_json(self) -> dict[str, Any]:
        """Return what tells whether two results saw the same rows."""
        return {"set": self.data, "rows": len(self.cases), "digest": self.labelled_set.digest}
