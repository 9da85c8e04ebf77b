"""What is learned one after the other: to decide and to reply, to decide once more, then to reply once more."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from qwen_allinone.model.shared import SharedQwen
from training import circuit, validation
from training.curriculum import BOTH, DECISIONS, REPLIES, Stage
from training.sizes import Schedule, Size
from training.sources import Item, Source
from training.train import Learners

PhaseName = Literal["both", "decisions", "replies"]
PHASES: tuple[PhaseName, ...] = get_args(PhaseName)
"""In their order."""


@dataclass(frozen=True)
class Phase:
    """A training with one aim."""

    name: PhaseName
    schedule: Schedule
    learners: Learners
    sources: Sequence[Source]
    stages: Sequence[Stage]
    examined: Callable[[SharedQwen, Sequence[Item]], dict[str, Any]]
    """How well the model does what it learns, on items that were held out."""


def phases(size: Size, sources: Sequence[Source], *, first: PhaseName = "both") -> tuple[Phase, ...]:
    """From the first on."""

    def costs(qwen: SharedQwen, held: Sequence[Item]) -> dict[str, Any]:
        return {"reply cost": validation.reply_costs(qwen, held)}

    def all_of_it(qwen: SharedQwen, held: Sequence[Item]) -> dict[str, Any]:
        return {"accuracy": validation.accuracies(qwen, held), **costs(qwen, held)}

    replied = [each for each in sources if each.replies]
    asked = [each for each in sources if not each.replies]
    whole = (
        Phase("both", size.both, circuit.all_weights, sources, BOTH, all_of_it),
        Phase("decisions", size.decisions, circuit.decision_weights, asked, DECISIONS, all_of_it),
        Phase("replies", size.replies, circuit.language_weights, replied, REPLIES, costs),
    )
    return whole[PHASES.index(first) :]
