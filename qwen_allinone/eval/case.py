"""Texts with a question each, and the run that asks them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from qwen_allinone.errors import QwenAllInOneError
from qwen_allinone.eval.dataset import LabelledRow, LabelledSet
from qwen_allinone.eval.report import EvalReport
from qwen_allinone.eval.run import EvalRun, Progress

if TYPE_CHECKING:
    from qwen_allinone.model import Calibration, Decision, Question, SharedQwen
    from qwen_allinone.model.engine.capabilities import Layout


@dataclass(frozen=True)
class Case:
    """One text with its right answers, and the question about it."""

    row: LabelledRow
    question: "Question"
    labels: Mapping[str, str] = field(default_factory=dict)
    """Option of the question to label of the row, where they are worded differently."""

    def in_labels(self, decision: "Decision") -> "Decision":
        """Return the decision with labels in place of options."""
        options = decision.probabilities.items()
        return replace(decision, probabilities={self.labels.get(option, option): each for option, each in options})


def evaluate(
    task: str,
    cases: Sequence[Case],
    qwen: "SharedQwen",
    *,
    data: str | None = None,
    calibration: "Calibration | None" = None,
    layout: "Layout | None" = None,
    learned: bool = True,
    progress: Progress | None = None,
) -> EvalReport:
    """Ask the model every question and count.

    Args:
        task: name of the question.
        cases: at least one; each may have options of its own.
        qwen: the model.
        data: name of the rows; by default that of the task.
        calibration: corrections; by default as the model declares.
        layout: order of text and question; by default as the model declares.
        learned: let heads decide the questions that have examples; False: score them.
        progress: called after each row.

    Raises:
        DataFileError: there are no cases, or a row's label is not among its options.
    """
    complete = [case for case in cases if case.row.blank is None]

    def decide_all(texts: Iterable[str]) -> "Iterator[Decision | QwenAllInOneError]":
        asked = ((text, {task: case.question}) for text, case in zip(texts, complete, strict=True))
        answers = qwen.decide_all(
            asked, calibration=calibration, layout=layout, learned=learned, return_exceptions=True
        )
        for case, answer in zip(complete, answers, strict=True):
            yield answer if isinstance(answer, QwenAllInOneError) else case.in_labels(answer[task])

    rows = LabelledSet(data or task, tuple(case.row for case in cases))
    run = EvalRun(task, rows, decide_all=decide_all, model=qwen.name, options_vary=True)
    return run.execute(progress=progress)
