"""What is learned one after the other: to decide and to reply, then to reply with the decisions left as they are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from qwen_allinone.model.shared import SharedQwen
from training import circuit, validation
from training.curriculum import BOTH, REPLIES, Stage
from training.sizes import Schedule, Size
from training.sources import Item, Source
from training.train import Learners


@dataclass(frozen=True)
class Phase:
    """A training with one aim."""

    name: str
    schedule: Schedule
    learners: Learners
    sources: Sequence[Source]
    stages: Sequence[Stage]
    examined: Callable[[SharedQwen, Sequence[Item]], dict[str, Any]]
    """How well the model does what it learns, on items that were held out."""


def phases(size: Size, sources: Sequence[Source]) -> tuple[Phase, Phase]:
    """Both, in their order."""

    def costs(qwen: SharedQwen, held: Sequence[Item]) -> dict[str, Any]:
        return {"reply cost": validation.reply_costs(qwen, held)}

    def all_of_it(qwen: SharedQwen, held: Sequence[Item]) -> dict[str, Any]:
        return {"accuracy": validation.accuracies(qwen, held), **costs(qwen, held)}

    replied = [each for each in sources if each.replies]
    return (
        Phase("both", size.both, circuit.all_weights, sources, BOTH, all_of_it),
        Phase("replies", size.replies, circuit.language_weights, replied, REPLIES, costs),
    )
