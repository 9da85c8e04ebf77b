"""Phases of the training: to decide and to reply, to decide once more, then to reply once more."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from qwen_allinone.model.shared import SharedQwen
from training import initialisation, validation
from training.curriculum import BOTH, DECISIONS, REPLIES, Stage
from training.sizes import Schedule, Size
from training.sources import Item, Source
from training.train import Learners

PHASES = ("both", "decisions", "replies")


@dataclass(frozen=True)
class Phase:
    """A stretch of the training with one aim."""

    name: str
    schedule: Schedule
    learners: Learners
    sources: Sequence[Source]
    stages: Sequence[Stage]
    examined: Callable[[SharedQwen, Sequence[Item]], dict[str, Any]]
    """Measures the model on items that were held out."""


def phases(size: Size, sources: Sequence[Source]) -> tuple[Phase, ...]:
    """Return the phases in their order."""

    def costs(qwen: SharedQwen, held: Sequence[Item]) -> dict[str, Any]:
        return {"reply cost": validation.reply_costs(qwen, held)}

    def all_of_it(qwen: SharedQwen, held: Sequence[Item]) -> dict[str, Any]:
        return {"accuracy": validation.accuracies(qwen, held), **costs(qwen, held)}

    replied = [each for each in sources if each.replies]
    asked = [each for each in sources if not each.replies]
    return (
        Phase("both", size.both, initialisation.all_weights, sources, BOTH, all_of_it),
        Phase("decisions", size.decisions, initialisation.decision_weights, asked, DECISIONS, all_of_it),
        Phase("replies", size.replies, initialisation.language_weights, replied, REPLIES, costs),
    )
