"""Decisions of one model over the shipped sets, and what they say about option order, layouts and corrections."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

from qwen_allinone.errors import QwenAllInOneError
from qwen_allinone.eval import EvalReport, EvalRun, LabelledSet
from qwen_allinone.eval.metrics import Proportion
from qwen_allinone.model import Calibration, Choice, Decision
from qwen_allinone.model.engine.capabilities import Layout
from qwen_allinone.model.prompt.language import Language, language_of
from qwen_allinone.router.question import route_question
from qwen_allinone.router.route import builtin_routes
from qwen_allinone.tools.sentiment import by_polarity, mood_question

if TYPE_CHECKING:
    from qwen_allinone.model import SharedQwen

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many rows of it are done, and of how many."""

CORRECTIONS = {
    "none": Calibration(),
    "prior": Calibration(prior=True),
    "per token": Calibration(length_normalized=True),
    "permutations": Calibration(permutations=4),
}


@dataclass(frozen=True)
class Task:
    """A labelled set and the question that is put about its texts."""

    name: str
    """``mood`` or ``route``."""
    labelled_set: LabelledSet

    def question(self, language: Language) -> Choice:
        """As the tools and the router put it."""
        return mood_question(language) if self.name == "mood" else route_question(builtin_routes(), language)

    def in_labels(self, decision: Decision) -> Decision:
        """The decision with the set's labels in place of the question's options."""
        return by_polarity(decision) if self.name == "mood" else decision


def shipped_tasks(rows: int | None = None) -> tuple[Task, ...]:
    """The mood over the sentiment set and the route over the routes set, ``rows`` of each, evenly spaced."""
    return (
        Task("mood", _spaced(LabelledSet.builtin("sentiment"), rows)),
        Task("route", _spaced(LabelledSet.builtin("routes"), rows)),
    )


class Survey:
    """One model asked the shipped questions; what was asked once is not asked again.

    Args:
        qwen: the model.
        tasks: what it is asked.
        progress: called as rows are done.
    """

    def __init__(self, qwen: "SharedQwen", tasks: Sequence[Task], progress: Progress | None = None) -> None:
        self.qwen = qwen
        self.tasks = tasks
        self.progress = progress
        self._reports: dict[tuple[str, Layout, Calibration], EvalReport] = {}

    def report(self, task: Task, *, layout: Layout | None = None, calibration: Calibration | None = None) -> EvalReport:
        """The evaluation of a task, by default in the layout that the model declares and without corrections."""
        key = (task.name, layout or self.qwen.capabilities.layout, calibration or Calibration())
        if key not in self._reports:
            self._reports[key] = self._run(task, *key[1:])
        return self._reports[key]

    def tell(self, step: str, done: int, total: int) -> None:
        """Pass on how far a step is."""
        if self.progress is not None:
            self.progress(f"{self.qwen.name}: {step}", done, total)

    def _run(self, task: Task, layout: Layout, calibration: Calibration) -> EvalReport:
        def decide_all(texts: Iterable[str]) -> Iterator[Decision | QwenAllInOneError]:
            asked = ((text, {task.name: task.question(language_of(text))}) for text in texts)
            for answer in self.qwen.decide_all(asked, layout=layout, calibration=calibration, return_exceptions=True):
                yield answer if isinstance(answer, QwenAllInOneError) else task.in_labels(answer[task.name])

        run = EvalRun(task.name, task.labelled_set, decide_all=decide_all, model=self.qwen.name)
        correction = next((name for name, each in CORRECTIONS.items() if each == calibration), str(calibration))
        return run.execute(progress=partial(self.tell, f"{task.name}, {layout}, correction {correction}"))


def option_flips(survey: Survey) -> dict[str, Any]:
    """How many decisions change when the options are listed in another order, none of which changes what is asked.

    Per task: ``reversed``, ``rotated`` (under at least one rotation) and ``any`` (under at least one of these).
    """
    return {task.name: _flips(survey, task) for task in survey.tasks}


def layouts(survey: Survey) -> dict[str, Any]:
    """Accuracy with the text first and with the instruction first."""
    return {
        layout: {task.name: accuracy_json(survey.report(task, layout=layout)) for task in survey.tasks}
        for layout in get_args(Layout)
    }


def corrections(survey: Survey) -> dict[str, Any]:
    """Accuracy without corrections, divided by the prior, by the likelihood per token, and averaged over rotations."""
    return {
        name: {task.name: accuracy_json(survey.report(task, calibration=calibration)) for task in survey.tasks}
        for name, calibration in CORRECTIONS.items()
    }


def accuracy_json(report: EvalReport) -> dict[str, Any]:
    """Accuracy over the scored rows, what a constant answer reaches, and the errors of the other rows, if any."""
    errors = {"errors": dict(report.errors)} if report.errors else {}
    baseline = report.baseline.accuracy.value if report.baseline else None
    found = proportion_json(report.accuracy)
    return {"accuracy": found.pop("share"), **found, "baseline": baseline, "unscored": report.unscored, **errors}


def proportion_json(proportion: Proportion) -> dict[str, Any]:
    """A share with its n and its 95 % Wilson interval; None of nothing."""
    interval = proportion.interval
    return {"share": proportion.value, "n": proportion.n, "interval": list(interval) if interval else None}


def _flips(survey: Survey, task: Task) -> dict[str, Any]:
    rows = task.labelled_set.rows
    changes: list[dict[str, bool]] = []
    for done, row in enumerate(rows, start=1):
        try:
            changes.append(_changes(survey.qwen, task, row.text))
        except QwenAllInOneError:
            continue
        finally:
            survey.tell(f"{task.name}, option orders", done, len(rows))
    shares = {
        name: proportion_json(Proportion(sum(change[name] for change in changes), len(changes)))
        for name in ("reversed", "rotated", "any")
    }
    return {**shares, "unscored": len(rows) - len(changes)}


def _changes(qwen: "SharedQwen", task: Task, text: str) -> dict[str, bool]:
    """Under which changes of order the decision about a text becomes another; all orders in one pass."""
    question = task.question(language_of(text))
    labels = list(question.criteria)
    turned = [[*labels[start:], *labels[:start]] for start in range(len(labels))]
    asked = {"listed": question, "reversed": _in_order(question, labels[::-1])}
    asked |= {f"rotated {start}": _in_order(question, turned[start]) for start in range(1, len(labels))}
    decisions = qwen.decide(text, asked, calibration=replace(qwen.calibration, order="given"))
    options = {name: decision.option for name, decision in decisions.items()}
    listed = options.pop("listed")
    rotated = any(option != listed for name, option in options.items() if name != "reversed")
    reversed_ = options["reversed"] != listed
    return {"reversed": reversed_, "rotated": rotated, "any": reversed_ or rotated}


def _in_order(question: Choice, labels: Sequence[str]) -> Choice:
    return Choice(instructions=question.instructions, criteria={label: question.criteria[label] for label in labels})


def _spaced(labelled_set: LabelledSet, rows: int | None) -> LabelledSet:
    every = labelled_set.rows
    if rows is None or rows >= len(every):
        return labelled_set
    return LabelledSet(labelled_set.name, tuple(every[index * len(every) // rows] for index in range(rows)))
