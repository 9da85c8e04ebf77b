"""A model whose decisions are known beforehand."""

from collections.abc import Callable
from typing import Any

from qwen_allinone.errors import TextTooLongError
from qwen_allinone.eval import LabelledSet
from qwen_allinone.model import Calibration, Capabilities, Choice, Decision
from qwen_allinone.model.language import language_of
from qwen_allinone.tools.sentiment import mood_question

Rule = Callable[[str, Choice, dict[str, Any]], str]
"""Text, question, layout and calibration to the option that is decided."""

TRUTH = {row.text: row.labels[0] for name in ("sentiment", "routes") for row in LabelledSet.builtin(name).rows}


class KnownModel:
    """Decides by a rule, with the margin asked for; finds some texts too long."""

    def __init__(self, rule: Rule, *, margin: float = 0.8, too_long: tuple[str, ...] = ()) -> None:
        self.rule, self.margin, self.too_long = rule, margin, too_long
        self.name = "known"
        self.capabilities, self.calibration = Capabilities(), Calibration()
        self.calls = 0

    def decide(self, text, questions, *, layout="text_first", calibration=None):
        """All questions by the rule; only what the survey asks for is understood."""
        self.calls += 1
        if text in self.too_long:
            raise TextTooLongError("too long")
        how = {"layout": layout, "calibration": calibration or Calibration()}
        return {name: self._decision(question, self.rule(text, question, how)) for name, question in questions.items()}

    def decide_all(self, texts, **how):
        """Each by itself; an error takes the place of the decisions."""
        for text, questions in texts:
            try:
                yield self.decide(text, questions, **how)
            except TextTooLongError as error:
                yield error

    def _decision(self, question, option):
        rest = (1 - self.margin) / len(question.criteria)
        return Decision.of({label: rest + self.margin * (label == option) for label in question.criteria})


def right(text: str, question: Choice, _: dict[str, Any] | None = None) -> str:
    """The right option, in whatever order the options are listed."""
    label = TRUTH[text]
    if label in question.criteria:
        return label
    positive, negative = mood_question(language_of(text)).criteria
    return positive if label == "positive" else negative


def first_listed(_: str, question: Choice, __: dict[str, Any]) -> str:
    """Whatever stands first."""
    return next(iter(question.criteria))
