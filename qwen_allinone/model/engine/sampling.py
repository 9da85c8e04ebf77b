"""Settings of one reply."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TypedDict

from qwen_allinone.errors import InputError

MIN_DIVISOR = 1e-3
"""Below this, temperatures and penalties overflow the model's numbers."""


class SamplingOptions(TypedDict, total=False):
    """The fields of ``SamplingParams``, as keyword arguments."""

    max_new_tokens: int
    min_new_tokens: int
    temperature: float
    top_p: float
    repetition_penalty: float
    seed: int | None
    stop: Sequence[str]
    max_repeats: int | None


@dataclass(frozen=True)
class SamplingParams:
    """Length, randomness and end of one reply."""

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
    max_repeats: int | None = None
    """Times that a piece of one to four tokens may come in a row; once more ends the reply. None: any."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or not 0 <= self.min_new_tokens <= self.max_new_tokens:
            raise InputError(
                f"max_new_tokens must be at least 1 and min_new_tokens between 0 and it; "
                f"given {self.max_new_tokens} and {self.min_new_tokens}"
            )
        if not ((self.temperature == 0 or MIN_DIVISOR <= self.temperature < inf) and 0 < self.top_p <= 1):
            raise InputError(f"temperature must be 0 or at least {MIN_DIVISOR} and finite, top_p in (0, 1]")
        if not MIN_DIVISOR <= self.repetition_penalty < inf:
            raise InputError(f"repetition_penalty must be at least {MIN_DIVISOR} and finite")
        if self.seed is not None and not (isinstance(self.seed, int) and abs(self.seed) < 2**63):
            raise InputError(f"seed must be a whole number of at most 63 bits, or None; given {self.seed!r}")
        if isinstance(self.stop, str) or not all(self.stop):
            raise InputError("stop must be a list of texts, none of them empty")
        if self.max_repeats is not None and self.max_repeats < 1:
            raise InputError(f"max_repeats must be at least 1, or None; given {self.max_repeats}")
