"""Decisions of one model over the shipped sets, and what they say about option order, layouts and corrections."""

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

from qwen_allinone.errors import QwenAllInOneError
from qwen_allinone.eval import EvalReport, EvalRun, LabelledSet
from qwen_allinone.eval.metrics import Proportion
from qwen_allinone.model import Calibration, Choice, Decision
from qwen_allinone.model.capabilities import Layout
from qwen_allinone.model.language import Language, language_of
from qwen_allinone.router.question import route_question
from qwen_allinone.router.route import shipped_routes
from qwen_allinone.tools.sentiment import mood_question

if TYPE_CHECKING:
    from qwen_allinone.doctor.checkup import Progress
    from qwen_allinone.model import SharedQwen

CORRECTIONS = {
    "none": Calibration(),
    "prior": Calibration(prior=True),
    "permutations": Calibration(permutations=4),
}


@dataclass(frozen=True)
class Task:
    """A labelled set and the question that is put about its texts."""

    name: Literal["mood", "route"]
    labelled_set: LabelledSet

    def question(self, language: Language) -> Choice:
        """As the tools and the router put it."""
        return mood_question(language) if self.name == "mood" else route_question(shipped_routes(), language)

    def in_labels(self, decision: Decision, language: Language) -> Decision:
        """The decision with the set's labels in place of the question's options."""
        if self.name == "route":
            return decision
        named = dict(zip(self.question(language).criteria, ("positive", "negative"), strict=True))
        return Decision.of({named[option]: value for option, value in decision.probabilities.items()})


def shipped_tasks(rows: int | None = None) -> tuple[Task, ...]:
    """The mood over the sentiment set and the route over the routes set, ``rows`` of each, evenly spaced."""
    return (
        Task("mood", _spaced(LabelledSet.shipped("sentiment"), rows)),
        Task("route", _spaced(LabelledSet.shipped("routes"), rows)),
    )


@dataclass(frozen=True)
class Survey:
    """One model, asked the shipped questions; what was asked once is not asked again."""

    qwen: "SharedQwen"
    tasks: Sequence[Task]
    progress: "Progress | None" = None
    _: KW_ONLY

    def __post_init__(self) -> None:
        object.__setattr__(self, "_reports", {})
