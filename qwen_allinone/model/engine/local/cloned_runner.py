"""Forward passes of models whose states cannot be cut, because some of their layers only remember a summary."""

import copy
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import DynamicCache

from qwen_allinone.errors import CapabilityError
from qwen_allinone.model.engine.base import Reading
from qwen_allinone.model.engine.local.packing import BranchedPrompt, BranchScores, Span
from qwen_allinone.model.engine.local.prefix_cache import PrefixCache
from qwen_allinone.model.engine.local.runner import ModelRunner, features_of, memory_errors_explained

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MAX_CLONED_TOKENS = 1024
"""Tokens of one pass over clones, padding included."""


class ClonedRunner(ModelRunner):
    """Runs a model of other than full attention.

    Every candidate goes on from its own clone of what the prefix has left behind, some of them in one pass; every reply
    has a cache of its own.
    """

    packs = False

    def __init__(self, model: "PreTrainedModel", cache: PrefixCache, *, decision_layers: int | None = None) -> None:
        if decision_layers is not None:
            raise CapabilityError(
                f"capabilities.json says that the model decides after {decision_layers} layers; "
                "that needs layers of full attention only"
            )
        super().__init__(model, cache)
        self._caches: list[DynamicCache] = []

    def score(self, prompts: Sequence[BranchedPrompt], *, keep: bool = True) -> list[BranchScores]:  # noqa: ARG002
        """Score every candidate behind its suffix and prefix, one prompt after the other."""
        scores = []
        for prompt in prompts:
            with memory_errors_explained(prompt.size):
                scores.append(self._score(prompt))
        return scores

    def read(
        self, prompts: Sequence[tuple[int, ...]], spans: Sequence[Span], *, layers: Sequence[int], keep: bool = True
    ) -> list[Reading]:
        """Read one prompt after the other and return hidden states of the text within each."""
        for layer in layers:
            self._require_layers(layer, "hidden states were asked for")
        found = []
        for ids, (start, end) in zip(prompts, spans, strict=True):
            reading = self._cache.reading(ids, layers)
            if reading is None:
                begun = self._cache.clears
                with memory_errors_explained(len(ids)), self._captured(layers) as states:
                    cache = self._whole_states(ids[:start])
                    self._logits(ids[start:], cache)
                reading = {layer: features_of(hidden[0], slice(end - start)) for layer, hidden in states.items()}
                if keep:
                    self._cache.store(ids, cache, begun=begun)
                    self._cache.store_reading(ids, reading)
            found.append(reading)
        return found

    def prefill(self, prompt: Sequence[int], branch_point: int) -> torch.Tensor:
        """Read the prompt of a reply, which becomes the last row of ``decode``. *Shape:* (1, vocabulary)."""
        with memory_errors_explained(len(prompt)):
            cache = self._whole_states(prompt[:branch_point])
            logits = self._logits(prompt[branch_point:], cache)
            self._caches.append(cache)
            return logits

    def decode(self, tokens: Sequence[int]) -> torch.Tensor:
        """Read the latest token of each reply in turn; return the logits of the next. *Shape:* (rows, vocabulary)."""
        with memory_errors_explained(len(tokens)):
            rows = [self._logits([token], cache) for token, cache in zip(tokens, self._caches, strict=True)]
            return torch.cat(rows)

    def drop(self, row: int, *, keep_as: Sequence[int] | None = None) -> None:  # noqa: ARG002
        """Remove a reply; the last one takes its row."""
        last = self._caches.pop()
        if row < len(self._caches):
            self._caches[row] = last

    def drop_all(self) -> None:
        """Remove every reply."""
        self._caches = []

    def _whole_states(self, prefix: Sequence[int]) -> DynamicCache:
        """Return a copy of the states of a prefix, computed as far as it was not read before, and kept."""
        # Outside of inference mode: its tensors refuse the in-place updates that such caches make later.
        with torch.inference_mode(mode=False), torch.no_grad():
            begun = self._cache.clears
            known, states = self._cache.longest_whole(prefix)
            if states is None:
                states = DynamicCache(config=self._model.config)
            if known < len(prefix):
                self._model(input_ids=self._tensor(prefix[known:]), cache=states, use_cache=True, logits_to_keep=1)
                self._cache.store(prefix, copy.deepcopy(states), begun=begun)
        return states

    def _logits(self, ids: Sequence[int], cache: DynamicCache) -> torch.Tensor:
        with torch.inference_mode(mode=False), torch.no_grad():
            inputs: dict[str, Any] = {"cache": cache, "use_cache": True, "logits_to_keep": 1}
            return cast(torch.Tensor, self._model(input_ids=self._tensor(ids), **inputs).logits[:, -1])

    def _score(self, prompt: BranchedPrompt) -> BranchScores:
        clones = []
        for branch in prompt.branches:
            clones += [(branch.suffix, candidate) for candidate in branch.candidates]
        # Clones are padded to the longest and share passes, as many as fit.
        width = max(len(suffix) + len(candidate) - 1 for suffix, candidate in clones)
        batch_size = max(1, MAX_CLONED_TOKENS // width)
        scores: list[float] = []
        for first in range(0, len(clones), batch_size):
            scores += self._score_clones(prompt.prefix, clones[first : first + batch_size])
        rest = iter(scores)
        return tuple(tuple(islice(rest, len(branch.candidates))) for branch in prompt.branches)

    def _score_clones(
        self, prefix: Sequence[int], clones: Sequence[tuple[Sequence[int], Sequence[int]]]
    ) -> list[float]:
        rows = [[*suffix, *candidate[:-1]] for suffix, candidate in clones]
        width = max(map(len, rows))
        states = self._whole_states(prefix) if prefix else DynamicCache(config=self._model.config)
        if prefix:
            same = torch.zeros(len(rows), dtype=torch.long)
            states.reorder_cache(same)  # type: ignore[arg-type]  # its one row becomes as many as there are candidates
        device = self._model.device
        seen = [[1] * (len(prefix) + len(row)) + [0] * (width - len(row)) for row in rows]
        hidden = self._deciding(
            input_ids=torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device),
            attention_mask=torch.tensor(seen, device=device),
            cache=states,
            use_cache=True,
        ).last_hidden_state
        found = []
        for row, (suffix, candidate) in zip(hidden, clones, strict=True):
            logs = self._log_probabilities(row[len(suffix) - 1 : len(suffix) + len(candidate) - 1])
            found.append(float(logs.gather(1, torch.tensor([candidate], device=device).T).sum()))
        return found
