"""What is learned one after the other: to decide and to reply, then to reply with the decisions left as they are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Qwen2ForCausalLM

from qwen_allinone.model.shared import SharedQwen
from training import circuit, validation
from training.curriculum import BOTH, REPLIES, Stage
from training.sizes import Schedule, Size
from training.sources import Item, Source


@dataclass(frozen=True)
class Phase:
    """A training with one aim."""

    name: str
    schedule: Schedule
    weights: Sequence[torch.nn.Parameter]
    """That learn."""
    sources: Sequence[Source]
    stages: Sequence[Stage]
    examined: Callable[[SharedQwen, Sequence[Item]], dict[str, Any]]
    """How well the model does what it learns, on items that were held out."""


def phases(size: Size, model: Qwen2ForCausalLM, sources: Sequence[Source]) -> tuple[Phase, Phase]:
    """Both, in their order."""

    def costs(qwen: SharedQwen, held: Sequence[Item]) -> dict[str, Any]:
        return {"reply cost": validation.reply_costs(qwen, held)}

    def all_of_it(qwen: SharedQwen, held: Sequence[Item]) -> dict[str, Any]:
        return {"accuracy": validation.accuracies(qwen, held), **costs(qwen, held)}

    replied = [each for each in sources if each.replies]
    return (
        Phase("both", size.both, list(model.parameters()), sources, BOTH, all_of_it),
        Phase("replies", size.replies, circuit.language_weights(model), replied, REPLIES, costs),
    )
