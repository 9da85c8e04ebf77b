"""Forward passes of one model: reads, scores, and the tokens of replies."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn.functional import linear

from qwen_allinone.errors import CapabilityError, ModelMemoryError
from qwen_allinone.model.engine.base import Features, Reading
from qwen_allinone.model.engine.local.kv_rows import KVRows
from qwen_allinone.model.engine.local.packing import BranchedPrompt, BranchScores, PackedBatch, Span, pack
from qwen_allinone.model.engine.local.prefix_cache import (
    KeyValues,
    PrefixCache,
    as_dynamic_cache,
    key_values,
    shared_length,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc")
"""Parts of torch's messages."""


class ModelRunner:
    """Runs a model of full attention; one thread at a time.

    Args:
        model: reads, scores and generates.
        cache: of the prefixes that were read.
        decision_layers: number of layers after which options are scored, with the embedding for an output layer; None:
            all, with the model's own output layer.

    Raises:
        CapabilityError: the model has fewer layers, or not all of full attention.
    """

    packs = True
    """True if the architecture lets branches share one row of a pass."""

    def __init__(self, model: "PreTrainedModel", cache: PrefixCache, *, decision_layers: int | None = None) -> None:
        self._model: Any = model
        self._cache = cache
        self._decision_layers = decision_layers
        if decision_layers is not None:
            self._require_layers(decision_layers, "capabilities.json says that the model decides")
        self._deciding = model.base_model if decision_layers is None else self._first_layers(decision_layers)
        self._replies = KVRows()

    def knows(self, prefix: Sequence[int]) -> bool:
        """Return True if all of a prefix was read before, and kept."""
        return self._cache.holds(prefix)

    def score(self, prompts: Sequence[BranchedPrompt], *, keep: bool = True) -> list[BranchScores]:
        """Score every candidate behind its suffix and prefix; all prompts in one pass.

        Args:
            prompts: the texts, each with its branches.
            keep: store the KV cache of every prefix; otherwise only of the beginning that all of them share.
        """
        with memory_errors_explained(sum(each.size for each in prompts)):
            shared = _shared_prefix([each.prefix for each in prompts])
            batch = PackedBatch(tuple(pack(each.branches, each.prefix[len(shared) :]) for each in prompts))
            # Every row is padded to the longest, so the shared beginning is read once and stands before all of them.
            keep = keep and len(prompts) > 1  # a single prefix is read on its own, and kept by that
            hidden = self._hidden_of_rows(batch, shared, prompts, keep=keep)
            return self._scores(batch, hidden)

    def score_one_by_one(self, prompt: BranchedPrompt) -> BranchScores:
        """Score by one whole forward pass per candidate: slow, and what packed scores must equal."""
        scores = []
        for branch in prompt.branches:
            before = [*prompt.prefix, *branch.suffix]
            scores.append(tuple(self._score_alone(before, candidate) for candidate in branch.candidates))
        return tuple(scores)

    def read(
        self, prompts: Sequence[tuple[int, ...]], spans: Sequence[Span], *, layers: Sequence[int], keep: bool = True
    ) -> list[Reading]:
        """Read prompts in one pass and return hidden states of the text within each.

        Args:
            prompts: token ids, from the beginning of the conversation.
            spans: place of the text in each prompt.
            layers: numbers of layers after which the states are taken, from 1.
            keep: store KV cache and features of every prompt; otherwise the pass stops after the last of the layers.

        Raises:
            CapabilityError: the model has fewer layers.
        """
        for layer in layers:
            self._require_layers(layer, "hidden states were asked for")
        found = [self._cache.reading(ids, layers) for ids in prompts]
        # One reading serves several questions: only texts without hidden states are read.
        missing = [index for index, each in enumerate(found) if each is None]
        if missing:
            rows, places = [prompts[index] for index in missing], [spans[index] for index in missing]
            read = self._read_rows(rows, places, layers, keep=keep)
            for index, reading in zip(missing, read, strict=True):
                found[index] = reading
        return cast(list[Reading], found)

    def prefill(self, prompt: Sequence[int], branch_point: int) -> torch.Tensor:
        """Read the prompt of a reply, which becomes the last row of ``decode``; return the logits of its first token.

        Args:
            prompt: token ids, up to where the reply begins.
            branch_point: number of leading tokens whose KV cache is worth keeping.

        *Shape:* (1, vocabulary).
        """
        with memory_errors_explained(len(prompt)):
            # A clear meanwhile means that the weights may have changed: what is read now must not be kept then.
            begun = self._cache.clears
            cache = as_dynamic_cache(self._prefix_states(prompt[:branch_point]) if branch_point else None)
            rest = self._tensor(prompt[branch_point:])
            logits = self._model(input_ids=rest, cache=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
            self._replies.add(key_values(cache, len(prompt)), begun=begun)
            return cast(torch.Tensor, logits)

    def decode(self, tokens: Sequence[int]) -> torch.Tensor:
        """Read the latest token of every reply; return the logits of the next ones. *Shape:* (rows, vocabulary)."""
        with memory_errors_explained(len(tokens)):
            device = self._model.device
            hidden = self._model.base_model(
                input_ids=torch.tensor(tokens, device=device)[:, None],
                attention_mask=self._replies.mask(self._model.dtype).to(device),
                position_ids=torch.tensor(self._replies.lengths, device=device)[:, None],
                cache=self._replies.about_to_grow(device),
                use_cache=True,
            ).last_hidden_state[:, -1]
            self._replies.grown()
            return cast(torch.Tensor, self._model.get_output_embeddings()(hidden))

    def drop(self, row: int, *, keep_as: Sequence[int] | None = None) -> None:
        """Remove a reply; the last one takes its row.

        Args:
            row: of the reply.
            keep_as: token ids of prompt and reply, under which their KV cache is kept where there is room.
        """
        try:
            if keep_as is not None and self._replies.bytes_of(row) <= self._cache.max_bytes:
                length = self._replies.lengths[row]
                with suppress(ModelMemoryError), memory_errors_explained(length):
                    self._cache.store(keep_as[:length], self._replies.copy_of(row), begun=self._replies.begun[row])
        finally:
            self._replies.drop(row)

    def drop_all(self) -> None:
        """Remove every reply."""
        self._replies = KVRows()

    def _prefix_states(self, prefix: Sequence[int]) -> KeyValues:
        """Return the KV cache of a prefix, computed as far as it was not read before, and kept."""
        begun = self._cache.clears
        known, states = self._cache.longest(prefix)
        if known == len(prefix) and states is not None:
            return states
        cache = as_dynamic_cache(states)
        self._model(input_ids=self._tensor(prefix[known:]), cache=cache, use_cache=True, logits_to_keep=1)
        read = key_values(cache, len(prefix))
        self._cache.store(prefix, read, begun=begun)
        return read

    def _hidden_of_rows(
        self, batch: PackedBatch, shared: Sequence[int], prompts: Sequence[BranchedPrompt], *, keep: bool
    ) -> torch.Tensor:
        """Return the hidden states from which candidates are scored. *Shape:* (rows, width, hidden_size)."""
        device, begun = self._model.device, self._cache.clears
        cache = as_dynamic_cache(self._repeated_states(shared, len(prompts)))
        inputs = {
            "input_ids": batch.ids().to(device),
            "attention_mask": batch.mask(len(shared), self._model.dtype).to(device),
            "position_ids": batch.positions(len(shared)).to(device),
            "cache": cache,
            "use_cache": True,
        }
        if not keep or self._decision_layers is None:
            hidden = self._deciding(**inputs).last_hidden_state
        else:  # what is kept must come from all layers, for a reply goes on from it
            with self._captured([self._decision_layers]) as states:
                self._model.base_model(**inputs)
            hidden = self._model.base_model.norm(states[self._decision_layers])
        if keep:
            # The first positions of a row are its prefix, whatever branches follow.
            for row, each in enumerate(prompts):
                if each.prefix:
                    self._cache.store(each.prefix, key_values(cache, len(each.prefix), row=row), begun=begun)
        return cast(torch.Tensor, hidden)

    def _scores(self, batch: PackedBatch, hidden: torch.Tensor) -> list[BranchScores]:
        """Sum the log-probabilities of each candidate's tokens."""
        places: dict[tuple[int, int], int] = {}  # a place that predicts several candidates is computed once
        at: list[int] = []
        tokens: list[int] = []
        for number, row in enumerate(batch.rows):
            for branch in row.targets:
                for candidate in branch:
                    for place, token in candidate:
                        at.append(places.setdefault((number, place), len(places)))
                        tokens.append(token)
        rows, columns = torch.tensor(list(places), device=hidden.device).T
        logs = self._log_probabilities(hidden[rows, columns])
        found = iter(logs[torch.tensor(at), torch.tensor(tokens)].tolist())
        scores = []
        for row in batch.rows:
            branches = []
            for branch in row.targets:
                branches.append(tuple(sum(islice(found, len(candidate))) for candidate in branch))
            scores.append(tuple(branches))
        return scores

    def _read_rows(
        self, rows: Sequence[tuple[int, ...]], spans: Sequence[Span], layers: Sequence[int], *, keep: bool
    ) -> list[Reading]:
        # Where every KV cache is there already, the pass may end after the last layer that is asked for.
        keep = keep and not all(map(self.knows, rows))
        # Every text must be in the pass, also where its KV cache is known from a pass that took no hidden states.
        shared = _shared_prefix(rows)[: min(start for start, _ in spans)]
        batch = PackedBatch(tuple(pack((), row[len(shared) :]) for row in rows))
        device, begun = self._model.device, self._cache.clears
        with memory_errors_explained(len(rows) * batch.width), self._captured(layers) as states:
            cache = as_dynamic_cache(self._repeated_states(shared, len(rows)))
            model = self._model.base_model if keep else self._first_layers(max(layers))
            model(
                input_ids=batch.ids().to(device),
                attention_mask=batch.mask(len(shared), self._model.dtype).to(device),
                position_ids=batch.positions(len(shared)).to(device),
                cache=cache,
                use_cache=True,
            )
        found: list[Reading] = []
        for index, (row, (start, end)) in enumerate(zip(rows, spans, strict=True)):
            own = slice(len(row) - len(shared))  # without the padding
            text = slice(start - len(shared), end - len(shared))
            reading = {layer: features_of(hidden[index, own], text) for layer, hidden in states.items()}
            if keep:
                self._cache.store(row, key_values(cache, len(row), row=index), begun=begun)
            self._cache.store_reading(row, reading)
            found.append(reading)
        return found

    def _repeated_states(self, prefix: Sequence[int], rows: int) -> KeyValues | None:
        """Return the KV cache of a prefix for several rows, without copying it."""
        if not prefix:
            return None
        return tuple(
            (keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1))
            for keys, values in self._prefix_states(prefix)
        )

    def _score_alone(self, before: Sequence[int], candidate: Sequence[int]) -> float:
        hidden = self._deciding(input_ids=self._tensor([*before, *candidate[:-1]]), use_cache=False).last_hidden_state
        logs = self._log_probabilities(hidden[0, -len(candidate) :])
        return sum(float(logs[index, token]) for index, token in enumerate(candidate))

    def _log_probabilities(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return those of every token as the next one. *Shape:* (places, vocabulary)."""
        if self._decision_layers is None:
            logits = self._model.get_output_embeddings()(hidden)
        else:
            embedding = self._model.get_input_embeddings()
            vectors = [*embedding.parameters(), *embedding.buffers()][0]  # a buffer where they are kept in 16 bits
            # A middle layer has no output layer of its own; the embedding serves as one.
            logits = linear(hidden, vectors.to(hidden.dtype))
        return torch.log_softmax(logits.float(), dim=-1)

    def _first_layers(self, count: int) -> Any:
        """Return the model without the layers behind the first; it shares all weights with the whole."""
        # A shallow copy shares all layers; only its configuration says that there are fewer.
        first: Any = copy.copy(self._model.base_model)
        first.config = copy.deepcopy(first.config)
        first.config.num_hidden_layers = count
        return first

    def _require_layers(self, count: int, what: str) -> None:
        layers = self._model.config.get_text_config().num_hidden_layers
        if not 1 <= count <= layers:
            raise CapabilityError(f"{what} after {count} layers; the model has {layers}")

    @contextmanager
    def _captured(self, layers: Sequence[int]) -> Iterator[dict[int, torch.Tensor]]:
        """Collect the hidden states behind layers, before any norm, of the latest pass within the block."""
        states: dict[int, torch.Tensor] = {}

        def take(layer: int, _module: torch.nn.Module, _inputs: Any, output: Any) -> None:
            states[layer] = output[0] if isinstance(output, tuple) else output

        modules = self._model.base_model.layers
        hooks = [modules[layer - 1].register_forward_hook(partial(take, layer)) for layer in layers]
        try:
            yield states
        finally:
            for hook in hooks:
                hook.remove()

    def _tensor(self, ids: Sequence[int]) -> torch.Tensor:
        return torch.tensor([list(ids)], device=self._model.device)


@contextmanager
def memory_errors_explained(tokens: int) -> Iterator[None]:
    """Surround a forward pass.

    Args:
        tokens: read by the pass.

    Raises:
        ModelMemoryError: in place of the errors that torch raises when there is no memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and not any(sign in str(error) for sign in _NO_MEMORY):
            raise
        raise ModelMemoryError(
            f"out of memory at a pass of {tokens} tokens; shorten the text or the history, lower "
            "qwen.local.scheduler.max_batch_tokens or qwen.local.prefix_cache.max_bytes, or load the model with "
            "precision='int8'"
        ) from error


def features_of(hidden: torch.Tensor, text: slice) -> Features:
    """Summarise the hidden states of a turn, the place of its text given. *Shape:* (tokens, hidden_size)."""
    states = hidden.float().cpu()
    return Features(states[text].mean(0).numpy(), states[-1].numpy())


def _shared_prefix(prefixes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the tokens that all prefixes begin with."""
    first, *others = prefixes
    length = len(first)
    for other in others:
        length = min(length, shared_length(first, other))
    return first[:length]
