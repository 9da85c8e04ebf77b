"""Choice of a reply's next token."""

from collections.abc import Sequence
from math import inf

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from qwen_allinone.model.engine.sampling import SamplingParams


class Sampler:
    """Chooses the tokens of one reply, as ``generate`` of transformers would.

    Args:
        sampling: how.
        stop_ids: tokens that end a reply.
    """

    def __init__(self, sampling: SamplingParams, stop_ids: Sequence[int]) -> None:
        self.processors = logits_processors(sampling, stop_ids)
        """Applied to the logits of each next token, given the reply so far. *Shape:* (1, vocabulary)."""
        self._sampled = sampling.temperature > 0
        seed = sampling.seed
        self._generator = None if seed is None else torch.Generator().manual_seed(seed)

    def choose(self, logits: torch.Tensor, written: Sequence[int]) -> int:
        """Return the next token.

        Args:
            logits: of the next token. *Shape:* (1, vocabulary).
            written: the reply so far; the prompt is not part of it, its words may be taken up.
        """
        ids = torch.tensor([list(written)], dtype=torch.long, device=logits.device)
        scores = self.processors(ids, logits.float())  # type: ignore[arg-type]
        if not self._sampled:
            return int(scores.argmax(dim=-1))
        # Drawn on the CPU, where a generator gives the same tokens for a seed on every device.
        shares = torch.softmax(scores, dim=-1).cpu()
        return int(torch.multinomial(shares, 1, generator=self._generator))


def logits_processors(sampling: SamplingParams, stop_ids: Sequence[int]) -> LogitsProcessorList:
    """Return the processors of transformers, in the order in which ``generate`` applies them."""
    found = LogitsProcessorList()
    # Given the reply alone, so the words of the prompt and of memories may be taken up.
    if sampling.repetition_penalty != 1:
        found.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    if sampling.min_new_tokens:
        found.append(_MinLength(sampling.min_new_tokens, stop_ids))
    if sampling.temperature:
        found.append(TemperatureLogitsWarper(sampling.temperature))
        if sampling.top_p < 1:
            found.append(TopPLogitsWarper(sampling.top_p))
    return found


class _MinLength(LogitsProcessor):
    """Acts as ``MinLengthLogitsProcessor``, which searches the whole vocabulary for the stops at every token."""

    def __init__(self, tokens: int, stop_ids: Sequence[int]) -> None:
        self._tokens = tokens
        self._stop_ids = list(stop_ids)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if input_ids.shape[1] >= self._tokens:
            return scores
        return scores.index_fill(1, torch.tensor(self._stop_ids, device=scores.device), -inf)
