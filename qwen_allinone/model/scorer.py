"""Likelihoods of options: the forward passes behind every decision."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn.functional import linear
from transformers import DynamicCache

from qwen_allinone.errors import CapabilityError
from qwen_allinone.model.branches import Branch, Inquiry, PackedBatch, pack
from qwen_allinone.model.memory_errors import memory_explained
from qwen_allinone.model.prefix_cache import KeyValues, PrefixCache, as_dynamic_cache, shared_length, states_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_CLONED_TOKENS = 1024
"""The most tokens of a pass over clones, padding included."""

LeafScores = tuple[tuple[float, ...], ...]
"""Per branch, per leaf: the log-likelihood of all the leaf's tokens."""


class Scorer:
    """Scores branches with one model; the caller sees to it that one thread at a time does so.

    Args:
        model: reads and scores.
        cache: of what was read.
        layers: after how many layers the options are scored, with the embedding for an output layer; None: after all,
            with the model's own output layer.

    Raises:
        CapabilityError: the model has fewer layers, or not all of full attention.
    """

    def __init__(self, model: "PreTrainedModel", cache: PrefixCache, *, layers: int | None = None) -> None:
        self._model = model
        self._cache = cache
        layer_types = getattr(model.config.get_text_config(), "layer_types", None) or ["full_attention"]
        self.packs = set(layer_types) == {"full_attention"}
        """Whether the architecture lets branches share one row; otherwise each goes on from a clone of its states."""
        self._layers = layers
        self._deciding = model.base_model if layers is None else self._first_layers(layers)

    def score(self, prefix: Sequence[int], branches: Sequence[Branch]) -> LeafScores:
        """Log-likelihood of every leaf behind its stem and the prefix; the reading of the prefix is kept."""
        (scores,) = self.score_all([Inquiry(tuple(prefix), tuple(branches))])
        return scores

    def score_all(self, inquiries: Sequence[Inquiry], *, keep: bool = False) -> list[LeafScores]:
        """The same for several texts in one pass.

        Args:
            inquiries: the texts, each with its questions.
            keep: the reading of every prefix; by default only what all of them begin with is kept.
        """
        with torch.inference_mode(), memory_explained(sum(each.size for each in inquiries)):
            if self.packs:
                return self._score_packed(inquiries, keep=keep)
            return [self._score_cloned(each) for each in inquiries]

    def score_one_by_one(self, prefix: Sequence[int], branches: Sequence[Branch]) -> LeafScores:
        """The same by one whole forward pass per leaf: slow, and what packed scores must equal."""
        with torch.inference_mode():
            return tuple(
                tuple(self._score_alone([*prefix, *branch.stem], leaf) for leaf in branch.leaves) for branch in branches
            )

    def knows(self, prefix: Sequence[int]) -> bool:
        """Whether all of a prefix was read before, and kept."""
        return self._cache.holds(prefix)

    @property
    def forgotten(self) -> int:
        """How often everything that was kept was forgotten."""
        return self._cache.cleared

    def has_room(self, size: int) -> bool:
        """Whether states of so many bytes would be kept."""
        return size <= self._cache.max_bytes

    def keep(self, ids: Sequence[int], states: KeyValues) -> None:
        """Keep what was read or written elsewhere."""
        self._cache.store(ids, states)

    def read(self, prefix: Sequence[int]) -> KeyValues:
        """States of a prefix, from the cache as far as it was read before.

        Only full-attention models have states that can be cut and continued like this.
        """
        known, states = self._cache.longest(prefix)
        if known == len(prefix) and states is not None:
            return states
        cache = as_dynamic_cache(states)
        with torch.inference_mode(), memory_explained(len(prefix)):
            self._model(
                input_ids=self._tensor(prefix[known:]),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        read = states_of(cache, len(prefix))
        self._cache.store(prefix, read)
        return read

    def _score_packed(self, inquiries: Sequence[Inquiry], *, keep: bool) -> list[LeafScores]:
        first, *others = (each.prefix for each in inquiries)
        prefix = first[: min((shared_length(first, other) for other in others), default=len(first))]
        batch = PackedBatch(tuple(pack(each.branches, each.prefix[len(prefix) :]) for each in inquiries))
        states = self.read(prefix) if prefix else ()
        repeated = tuple(
            (keys.expand(len(inquiries), -1, -1, -1), values.expand(len(inquiries), -1, -1, -1))
            for keys, values in states
        )
        device = self._model.device
        cache = as_dynamic_cache(repeated)
        keep = keep and len(inquiries) > 1  # a single prefix is read on its own, and kept by that
        hidden = self._hidden(
            whole=keep,
            input_ids=batch.ids().to(device),
            attention_mask=batch.mask(len(prefix), self._model.dtype).to(device),
            position_ids=batch.positions(len(prefix)).to(device),
            past_key_values=cache,
            use_cache=True,
        )
        if keep:
            for row, each in enumerate(inquiries):
                if each.prefix:
                    self._cache.store(each.prefix, states_of(cache, len(each.prefix), row=row))
        targets = [
            (number, place, token)
            for number, row in enumerate(batch.rows)
            for branch in row.targets
            for leaf in branch
            for place, token in leaf
        ]
        places = sorted({target[:2] for target in targets})
        where = {place: index for index, place in enumerate(places)}
        numbers, columns = torch.tensor(places, device=device).T
        logs = self._log_likelihoods(hidden[numbers, columns])
        at, tokens = torch.tensor([(where[number, place], token) for number, place, token in targets], device=device).T
        found = iter(logs[at, tokens].tolist())
        return [
            tuple(tuple(sum(next(found) for _ in leaf) for leaf in branch) for branch in row.targets)
            for row in batch.rows
        ]

    def read_whole(self, prefix: Sequence[int]) -> "DynamicCache":
        """A copy of the states of a prefix, from the cache as far as it was read before.

        For models whose states cannot be cut, because some of their layers only remember a summary of what they read.
        """
        with torch.inference_mode(mode=False), torch.no_grad(), memory_explained(len(prefix)):
            known, states = self._cache.longest_whole(prefix)
            if states is None:
                states = DynamicCache(config=self._model.config)
            if known < len(prefix):
                self._model(
                    input_ids=self._tensor(prefix[known:]), past_key_values=states, use_cache=True, logits_to_keep=1
                )
                self._cache.store(prefix, copy.deepcopy(states))
        return states

    def _score_cloned(self, inquiry: Inquiry) -> LeafScores:
        """Every leaf goes on from its own clone of what the prefix has left behind, some leaves in one pass."""
        leaves = [(branch.stem, leaf) for branch in inquiry.branches for leaf in branch.leaves]
        width = max(len(stem) + len(leaf) - 1 for stem, leaf in leaves)
        at_once = max(1, _CLONED_TOKENS // width)
        scores = iter(
            score
            for first in range(0, len(leaves), at_once)
            for score in self._score_clones(inquiry.prefix, leaves[first : first + at_once])
        )
        return tuple(tuple(next(scores) for _ in branch.leaves) for branch in inquiry.branches)

    def _score_clones(
        self, prefix: Sequence[int], leaves: Sequence[tuple[Sequence[int], Sequence[int]]]
    ) -> list[float]:
        rows = [[*stem, *leaf[:-1]] for stem, leaf in leaves]
        width = max(map(len, rows))
        states = self.read_whole(prefix) if prefix else DynamicCache(config=self._model.config)
        if prefix:
            same = torch.zeros(len(rows), dtype=torch.long)
            states.reorder_cache(same)  # type: ignore[arg-type]  # its one row becomes as many as there are leaves
        device = self._model.device
        seen = [[1] * (len(prefix) + len(row)) + [0] * (width - len(row)) for row in rows]
        hidden = self._deciding(
            input_ids=torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device),
            attention_mask=torch.tensor(seen, device=device),
            past_key_values=states,
            use_cache=True,
        ).last_hidden_state
        found = []
        for row, (stem, leaf) in zip(hidden, leaves, strict=True):
            places = row[len(stem) - 1 : len(stem) + len(leaf) - 1]
            logs = self._log_likelihoods(places)
            found.append(float(logs.gather(1, torch.tensor([leaf], device=device).T).sum()))
        return found

    def _score_alone(self, before: Sequence[int], leaf: Sequence[int]) -> float:
        hidden = self._deciding(input_ids=self._tensor([*before, *leaf[:-1]]), use_cache=False).last_hidden_state[0]
        log_probabilities = self._log_likelihoods(hidden[-len(leaf) :])
        return sum(float(log_probabilities[index, token]) for index, token in enumerate(leaf))

    def _first_layers(self, count: int) -> torch.nn.Module:
        """The model without the layers behind the first; it shares all weights with the whole."""
        layers = self._model.config.num_hidden_layers
        if not self.packs or layers < count:
            has = f"it has {layers}" if self.packs else "not all of its layers are of full attention"
            raise CapabilityError(f"the model cannot decide after {count} layers, as capabilities.json has it: {has}")
        first: Any = copy.copy(self._model.base_model)
        first.config = copy.deepcopy(first.config)
        first.config.num_hidden_layers = count
        return cast(torch.nn.Module, first)

    def _hidden(self, *, whole: bool, **inputs: Any) -> torch.Tensor:
        """What the layers that decide have written. *Shape:* (rows, tokens, width).

        Args:
            whole: read with the other layers as well, because the states are kept.
            inputs: of the model.
        """
        hidden: torch.Tensor
        if whole and self._layers is not None:
            base: Any = self._model.base_model
            hidden = base.norm(base(**inputs, output_hidden_states=True).hidden_states[self._layers])
        else:
            hidden = self._deciding(**inputs).last_hidden_state
        return hidden

    def _log_likelihoods(self, hidden: torch.Tensor) -> torch.Tensor:
        """Of every token as the next one. *Shape:* (places, vocabulary)."""
        if self._layers is None:
            logits = self._model.get_output_embeddings()(hidden)  # type: ignore[no-untyped-call]
        else:
            embedding = self._model.get_input_embeddings()
            vectors = [*embedding.parameters(), *embedding.buffers()][0]  # a buffer where they are kept in 16 bits
            logits = linear(hidden, vectors.to(hidden.dtype))
        return torch.log_softmax(logits.float(), dim=-1)

    def _tensor(self, ids: Sequence[int]) -> torch.Tensor:
        return torch.tensor([list(ids)], device=self._model.device)
