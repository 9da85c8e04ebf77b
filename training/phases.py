"""What is learned one after the other: to decide, and, with all of that left as it is, to reply."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import Qwen2ForCausalLM

from qwen_allinone.model.shared import SharedQwen
from training import circuit, curriculum, validation
from training.curriculum import LessonMaker
from training.lessons import Teacher
from training.sizes import Schedule, Size
from training.sources import Item, Source

_REPLIED = 0.3
"""Part of their shares that texts with replies have while decisions are learned."""


@dataclass(frozen=True)
class Phase:
    """A training with one aim."""

    name: str
    schedule: Schedule
    weights: Sequence[torch.nn.Parameter]
    """That learn."""
    sources: Sequence[Source]
    made: LessonMaker
    examined: Callable[[SharedQwen, Sequence[Item]], dict[str, Any]]
    """How well the model does what it learns, on items that were held out."""


def phases(size: Size, model: Qwen2ForCausalLM, sources: Sequence[Source], teacher: Teacher) -> tuple[Phase, Phase]:
    """Both, in their order."""
    asked = [replace(each, share=each.share * _REPLIED) if each.replies else each for each in sources]
    replied = [each for each in sources if each.replies]
    return (
        Phase(
            "decisions",
            size.decisions,
            circuit.decision_weights(model),
            asked,
            curriculum.decisions(teacher),
            lambda qwen, held: {"accuracy": validation.accuracies(qwen, held)},
        ),
        Phase(
            "replies",
            size.replies,
            circuit.language_weights(model),
            replied,
            curriculum.replies(teacher),
            lambda qwen, held: {"reply cost": validation.reply_costs(qwen, held)},
        ),
    )
