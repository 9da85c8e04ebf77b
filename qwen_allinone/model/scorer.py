"""Likelihoods of options: the forward passes behind every decision."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from qwen_allinone.model.branches import Branch, PackedBranches, pack
from qwen_allinone.model.prefix_cache import KeyValues, PrefixCache, as_dynamic_cache, states_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LeafScores = tuple[tuple[float, ...], ...]
"""Per branch, per leaf: the log-likelihood of all the leaf's tokens."""


class Scorer:
    """Scores branches with one model; the caller sees to it that one thread at a time does so."""

    def __init__(self, model: "PreTrainedModel", cache: PrefixCache) -> None:
        self._model = model
        self._cache = cache
        layer_types = getattr(model.config.get_text_config(), "layer_types", None) or ["full_attention"]
        self.packs = set(layer_types) == {"full_attention"}
        """Whether the architecture lets branches share one row; otherwise each leaf is read on its own."""

    def score(self, prefix: Sequence[int], branches: Sequence[Branch]) -> LeafScores:
        """Log-likelihood of every leaf behind its stem and the prefix."""
        with torch.inference_mode():
            if self.packs:
                return self._score_packed(prefix, pack(branches))
            return self.score_one_by_one(prefix, branches)

    def score_one_by_one(self, prefix: Sequence[int], branches: Sequence[Branch]) -> LeafScores:
        """The same by one whole forward pass per leaf: slow, and what packed scores must equal."""
        with torch.inference_mode():
            return tuple(
                tuple(self._score_alone([*prefix, *branch.stem], leaf) for leaf in branch.leaves) for branch in branches
            )

    def read(self, prefix: Sequence[int]) -> KeyValues:
        """States of a prefix, from the cache as far as it was read before.

        Only full-attention models have states that can be cut and continued like this.
        """
        known, states = self._cache.longest(prefix)
        if known == len(prefix) and states is not None:
            return states
        cache = as_dynamic_cache(states)
        with torch.inference_mode():
            self._model(
                input_ids=self._tensor(prefix[known:]),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        read = states_of(cache, len(prefix))
        self._cache.store(prefix, read)
        return read

    def _score_packed(self, prefix: Sequence[int], packed: PackedBranches) -> LeafScores:
        cache = as_dynamic_cache(self.read(prefix) if prefix else None)
        rows = sorted({row for branch in packed.targets for leaf in branch for row, _ in leaf})
        logits = self._model(
            input_ids=self._tensor(packed.ids),
            attention_mask=packed.mask(len(prefix), self._model.dtype).to(self._model.device),
            position_ids=packed.positions(len(prefix)).to(self._model.device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=torch.tensor(rows, device=self._model.device),
        ).logits[0]
        log_probabilities = torch.log_softmax(logits.float(), dim=-1)
        where = {row: index for index, row in enumerate(rows)}
        return tuple(
            tuple(sum(float(log_probabilities[where[row], token]) for row, token in leaf) for leaf in branch)
            for branch in packed.targets
        )

    def _score_alone(self, before: Sequence[int], leaf: Sequence[int]) -> float:
        logits = self._model(
            input_ids=self._tensor([*before, *leaf[:-1]]), use_cache=False, logits_to_keep=len(leaf)
        ).logits[0]
        log_probabilities = torch.log_softmax(logits.float(), dim=-1)
        return sum(float(log_probabilities[index, token]) for index, token in enumerate(leaf))

    def _tensor(self, ids: Sequence[int]) -> torch.Tensor:
        return torch.tensor([list(ids)], device=self._model.device)
