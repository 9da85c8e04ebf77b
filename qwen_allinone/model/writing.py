"""How a reply is written."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TypedDict

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from qwen_allinone.errors import InputError

_LEAST = 1e-3
"""Below this, temperatures and penalties overflow the model's numbers."""


class WritingOptions(TypedDict, total=False):
    """The fields of ``Writing``, as keyword arguments."""

    max_new_tokens: int
    min_new_tokens: int
    temperature: float
    top_p: float
    repetition_penalty: float
    seed: int | None
    stop: Sequence[str]


@dataclass(frozen=True)
class Writing:
    """How a reply is written."""

    max_new_tokens: int = 256
    min_new_tokens: int = 0
    temperature: float = 0.0
    """0 is greedy; above, tokens are sampled."""
    top_p: float = 1.0
    """Share of the probability mass that is sampled from, in (0, 1]."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that the reply has used already become less likely; those of the prompt may be taken up."""
    seed: int | None = None
    """Makes sampling repeatable; other random numbers of the process are left alone."""
    stop: Sequence[str] = field(default=())
    """Texts at which the reply ends; they are not part of it."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or not 0 <= self.min_new_tokens <= self.max_new_tokens:
            raise InputError(
                f"max_new_tokens must be at least 1 and min_new_tokens between 0 and it; "
                f"given {self.max_new_tokens} and {self.min_new_tokens}"
            )
        if not ((self.temperature == 0 or _LEAST <= self.temperature < inf) and 0 < self.top_p <= 1):
            raise InputError(f"temperature must be 0 or at least {_LEAST} and finite, top_p in (0, 1]")
        if not _LEAST <= self.repetition_penalty < inf:
            raise InputError(f"repetition_penalty must be at least {_LEAST} and finite")
        if self.seed is not None and not (isinstance(self.seed, int) and abs(self.seed) < 2**63):
            raise InputError(f"seed must be a whole number of at most 63 bits, or None; given {self.seed!r}")
        if isinstance(self.stop, str) or not all(self.stop):
            raise InputError("stop must be a list of texts, none of them empty")


def penalty(writing: Writing, *, prompt_tokens: int = 0) -> LogitsProcessorList:
    """That of transformers, without the prompt: its end-of-turn tokens and its memories are meant to come again."""
    if writing.repetition_penalty == 1:
        return LogitsProcessorList()
    return LogitsProcessorList(
        [RepetitionPenaltyLogitsProcessor(writing.repetition_penalty, prompt_ignore_length=prompt_tokens)]
    )


def processors(writing: Writing, stops: Sequence[int]) -> LogitsProcessorList:
    """What ``generate`` applies, in its order."""
    found = penalty(writing)
    if writing.min_new_tokens:
        found.append(_NoEndYet(writing.min_new_tokens, stops))
    if writing.temperature:
        found.append(TemperatureLogitsWarper(writing.temperature))
        if writing.top_p < 1:
            found.append(TopPLogitsWarper(writing.top_p))
    return found


class _NoEndYet(LogitsProcessor):
    """As ``MinLengthLogitsProcessor``, which searches the whole vocabulary for the stops at every token."""

    def __init__(self, tokens: int, stops: Sequence[int]) -> None:
        self._tokens = tokens
        self._stops = list(stops)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if input_ids.shape[1] >= self._tokens:
            return scores
        return scores.index_fill(1, torch.tensor(self._stops, device=scores.device), -inf)
