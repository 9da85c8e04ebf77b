"""A model whose decisions are known beforehand, and the tasks that it is asked."""

from collections.abc import Callable
from typing import Any

from qwen_allinone.errors import TextTooLongError
from qwen_allinone.eval import Case, LabelledSet
from qwen_allinone.eval.diagnostics import Task
from qwen_allinone.model import Calibration, Capabilities, Choice, Decision

Rule = Callable[[str, Choice, dict[str, Any]], str]
"""Text, question, layout and calibration to the option that is decided."""

MOODS = {
    "zh": Choice(instructions="情绪？", criteria={"正面": None, "负面": None}),
    "en": Choice(instructions="Mood?", criteria={"good": None, "bad": None}),
}
LABELS = {"正面": "positive", "负面": "negative", "good": "positive", "bad": "negative"}
ROUTES = Choice(instructions="去哪？", criteria={"sentiment": None, "chat": None, "intent": None, "summary": None})

MOOD = Task(
    "mood",
    "sentiment",
    tuple(Case(row, MOODS[row.language], LABELS) for row in LabelledSet.builtin("sentiment").rows),
)
ROUTE = Task("route", "routes", tuple(Case(row, ROUTES) for row in LabelledSet.builtin("routes").rows))
TRUTH = {case.row.text: case.row.labels[0] for case in (*MOOD.cases, *ROUTE.cases)}


def tasks(rows: int | None = None) -> tuple[Task, Task]:
    """Return the mood and the route task with so many rows."""
    return MOOD.spaced(rows), ROUTE.spaced(rows)


class KnownModel:
    """Decides by a rule, with the margin asked for; finds some texts too long."""

    def __init__(self, rule: Rule, *, margin: float = 0.8, too_long: tuple[str, ...] = ()) -> None:
        self.rule, self.margin, self.too_long = rule, margin, too_long
        self.name = "known"
        self.capabilities, self.calibration = Capabilities(), Calibration()
        self.calls = 0

    def decide(self, text, questions, *, layout="text_first", calibration, learned):
        """Decide all questions by the rule; only what the checks ask for is understood."""
        assert not learned
        self.calls += 1
        if text in self.too_long:
            raise TextTooLongError("too long")
        how = {"layout": layout, "calibration": calibration}
        return {name: self._decision(question, self.rule(text, question, how)) for name, question in questions.items()}

    def decide_all(self, texts, *, return_exceptions, **how):
        """Decide each by itself; an error takes the place of the decisions."""
        assert return_exceptions
        for text, questions in texts:
            try:
                yield self.decide(text, questions, **how)
            except TextTooLongError as error:
                yield error

    def _decision(self, question, option):
        rest = (1 - self.margin) / len(question.criteria)
        return Decision.from_probabilities(
            {label: rest + self.margin * (label == option) for label in question.criteria}
        )


def right(text: str, question: Choice, _: dict[str, Any] | None = None) -> str:
    """Return the right option, in whatever order the options are listed."""
    (option,) = (option for option in question.criteria if LABELS.get(option, option) == TRUTH[text])
    return option


def first_listed(_: str, question: Choice, __: dict[str, Any]) -> str:
    """Return whatever stands first."""
    return next(iter(question.criteria))
