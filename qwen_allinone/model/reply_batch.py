"""Replies that are written together: continuous batching.

Every step writes one token of every reply that is under way; a new one joins at the next step, and a finished one
makes room. Between two steps the model is free for decisions, so that nobody waits for a reply to end. (The continuous
batching of transformers reads every prompt itself; here a reply goes on from what decisions about its text have read.)
"""

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

import torch
from transformers import Cache

from qwen_allinone.errors import ModelBusyError, ModelMemoryError
from qwen_allinone.model.fair_lock import FairLock
from qwen_allinone.model.memory_errors import memory_explained
from qwen_allinone.model.prefix_cache import KeyValues, as_dynamic_cache, states_of
from qwen_allinone.model.reply import Generation, start_thread
from qwen_allinone.model.scorer import Scorer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_AT_ONCE = 8
"""Replies that are under way at the same time; further ones wait."""
_MOST_PLACES = 32_768
"""Tokens of all of them together, each counted as long as the longest; a single reply may be longer."""
MOST_WAITING = 256
_GROWTH = 128
"""Places by which the states of the replies grow."""


@dataclass(eq=False)
class _Row:
    """A reply that is under way."""

    generation: Generation
    length: int
    """Tokens whose states are known."""
    forgotten: int
    """How often the scorer had forgotten everything when the prompt was read."""
    written: list[int] = field(default_factory=list)


class ReplyBatch:
    """Writes replies of several threads with one model.

    Args:
        model: of full attention.
        scorer: reads prompts.
        stops: tokens that end a reply.
        lock: held during each step.
    """

    def __init__(self, model: "PreTrainedModel", scorer: Scorer, stops: Sequence[int], lock: FairLock) -> None:
        self._model = model
        self._scorer = scorer
        self._stops = frozenset(stops)
        self._lock = lock
        self._states = _RowStates()
        self._rows: list[_Row] = []
        self._waiting: deque[Generation] = deque()
        self._mutex = Lock()
        self._running = False

    def add(self, generation: Generation) -> None:
        """Have a reply written; returns at once.

        Raises:
            ModelBusyError: too many are waiting already.
        """
        with self._mutex:
            if len(self._waiting) >= MOST_WAITING:
                raise too_many_wait()
            if not self._running:
                start_thread(self._run)
            self._running = True
            self._waiting.append(generation)

    def _run(self) -> None:
        try:
            while self._goes_on():
                with self._lock, torch.inference_mode():
                    self._leave()
                    self._join()
                    self._write()
        except BaseException as error:  # what can be foreseen is told to the replies it concerns; this is told to all
            self._give_up(error)

    def _give_up(self, error: BaseException) -> None:
        with self._mutex:
            generations = [*(row.generation for row in self._rows), *self._waiting]
            self._rows, self._states, self._running = [], _RowStates(), False
            self._waiting.clear()
        for generation in generations:
            generation.finish(error)

    def _goes_on(self) -> bool:
        with self._mutex:
            self._running = bool(self._rows or self._waiting)
            return self._running

    def _leave(self) -> None:
        """Let those go that are not wanted any more, whether they are under way or wait."""
        for row in [row for row in self._rows if row.generation.unwanted]:
            self._end(row)
        with self._mutex:
            unwanted = [each for each in self._waiting if each.unwanted]
            self._waiting = deque(each for each in self._waiting if each not in unwanted)
        for each in unwanted:
            each.finish(None)

    def _join(self) -> None:
        """Let one more in, so that those who are in wait for the reading of one prompt at most."""
        with self._mutex:
            generation = self._waiting.popleft() if self._waiting and self._has_room(self._waiting[0]) else None
        if generation is None:
            return
        try:
            with memory_explained(len(generation.prompt)):
                states, logits = self._read(generation)
                self._states.add(states)
        except BaseException as error:
            generation.finish(error)
            return
        row = _Row(generation, len(generation.prompt), self._scorer.forgotten)
        self._rows.append(row)
        self._choose(row, logits)

    def _has_room(self, generation: Generation) -> bool:
        """Whether the states of one more reply fit in beside the others, all of them as long as the longest may get."""
        rows = [*(row.generation for row in self._rows), generation]
        longest = max(len(each.prompt) + each.limit for each in rows)
        return len(rows) == 1 or (len(rows) <= _AT_ONCE and len(rows) * longest <= _MOST_PLACES)

    def _read(self, generation: Generation) -> tuple[KeyValues, torch.Tensor]:
        prompt, branch_point = list(generation.prompt), generation.branch_point
        cache = as_dynamic_cache(self._scorer.read(prompt[:branch_point]) if branch_point else None)
        rest = torch.tensor([prompt[branch_point:]], device=self._model.device)
        logits = self._model(input_ids=rest, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
        return states_of(cache, len(prompt)), logits

    def _write(self) -> None:
        """The next token of every row."""
        if not self._rows:
            return
        try:
            with memory_explained(len(self._rows)):
                logits = self._step()
        except BaseException as error:
            for row in list(self._rows):
                self._end(row, error)
            return
        for row, own in zip(list(self._rows), logits, strict=True):
            self._choose(row, own[None])

    def _step(self) -> torch.Tensor:
        lengths = torch.tensor([row.length for row in self._rows])
        longest = int(lengths.max()) + 1
        hidden = torch.arange(longest)[None, :] > lengths[:, None]
        mask = torch.zeros(hidden.shape, dtype=self._model.dtype)
        mask = mask.masked_fill_(hidden, torch.finfo(mask.dtype).min)[:, None, None]
        device = self._model.device
        states = self._model.base_model(
            input_ids=torch.tensor([[row.written[-1]] for row in self._rows], device=device),
            attention_mask=mask.to(device),
            position_ids=lengths[:, None].to(device),
            past_key_values=self._states.at(lengths.to(device)),
            use_cache=True,
        ).last_hidden_state[:, -1]
        for row in self._rows:
            row.length += 1
        return self._model.get_output_embeddings()(states)  # type: ignore[no-untyped-call,no-any-return]

    def _choose(self, row: _Row, logits: torch.Tensor) -> None:
        """Take the next token of one reply; what goes wrong here is its own affair."""
        generation = row.generation
        try:
            written = torch.tensor([row.written], dtype=torch.long, device=logits.device)
            scores = generation.processors(written, logits.float())  # type: ignore[arg-type]
            if generation.sampled:
                token = int(torch.multinomial(scores.softmax(-1).cpu(), 1, generator=generation.sampler))
            else:
                token = int(scores.argmax(-1))
            row.written.append(token)
            generation.take(token)
        except BaseException as error:
            self._end(row, error)
            return
        if token in self._stops or len(row.written) >= generation.limit:
            self._end(row)

    def _end(self, row: _Row, error: BaseException | None = None) -> None:
        place = self._rows.index(row)
        last = self._rows.pop()
        if last is not row:
            self._rows[place] = last
        try:
            if error is None and row.generation.goes_on and row.forgotten == self._scorer.forgotten:
                self._keep(row, place)
            self._states.drop(place)
        finally:
            row.generation.finish(error)

    def _keep(self, row: _Row, place: int) -> None:
        """Keep what was read and written, where there is room for it; the reply is whole without that."""
        if not self._scorer.has_room(self._states.size(row.length)):
            return
        with suppress(ModelMemoryError), memory_explained(row.length):
            self._scorer.keep([*row.generation.prompt, *row.written][: row.length], self._states.of(place, row.length))


def too_many_wait() -> ModelBusyError:
    """What is said to one more."""
    return ModelBusyError(f"{MOST_WAITING} replies are waiting for the model; try again later")


class _RowStates(Cache):
    """Key-value states of several rows of different lengths, in one tensor per layer that is written in place."""

    def __init__(self) -> None:
        super().__init__(layers=[])
        self._layers: list[list[torch.Tensor]] = []
        self._rows = self._longest = 0
        self._places: tuple[torch.Tensor, ...] = ()

    def add(self, states: KeyValues) -> None:
        """A row behind the others."""
        if not self._layers:
            self._layers = [
                [tensor.new_zeros(1, tensor.shape[1], 0, tensor.shape[3]) for tensor in pair] for pair in states
            ]
        self._make_room(self._rows + 1, states[0][0].shape[2])
        for layer, pair in zip(self._layers, states, strict=True):
            for tensor, own in zip(layer, pair, strict=True):
                tensor[self._rows, :, : own.shape[2]] = own[0]
                tensor[self._rows, :, own.shape[2] :] = 0  # what is hidden still counts if it is no number
        self._rows += 1

    def size(self, length: int) -> int:
        """Bytes of the states of so many tokens of a row."""
        tensors = (tensor for layer in self._layers for tensor in layer)
        return sum(each.shape[1] * each.shape[3] * each.element_size() * length for each in tensors)

    def of(self, row: int, length: int) -> KeyValues:
        """Copies of the states of the first so many tokens of a row."""
        return tuple(
            (keys[row : row + 1, :, :length].clone(), values[row : row + 1, :, :length].clone())
            for keys, values in self._layers
        )

    def drop(self, row: int) -> None:
        """The last row takes the place of the one that goes; with the last of them, the memory goes too."""
        self._rows -= 1
        for layer in self._layers:
            for tensor in layer:
                tensor[row] = tensor[self._rows]
        if not self._rows:
            self._layers = []

    def at(self, lengths: torch.Tensor) -> "_RowStates":
        """The same, about to be given the states of one more token of every row. *Shape:* (rows,)."""
        self._longest = int(lengths.max())
        self._make_room(self._rows, self._longest + 1)
        self._places = torch.arange(self._rows, device=lengths.device), lengths
        return self

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the states of each row's token behind its others. *Shape:* (rows, kv_heads, 1, head_dim) each."""
        keys, values = self._layers[layer_idx]
        rows, lengths = self._places
        keys[rows, :, lengths] = key_states[:, :, 0]
        values[rows, :, lengths] = value_states[:, :, 0]
        return keys[: self._rows, :, : self._longest + 1], values[: self._rows, :, : self._longest + 1]

    def get_seq_length(self, layer_idx: int = 0) -> int:  # noqa: ARG002
        """Of the longest row."""
        return self._longest

    def _make_room(self, rows: int, places: int) -> None:
        have_rows, _, have_places, _ = self._layers[0][0].shape
        if rows <= have_rows and places <= have_places:
            return
        more = max(have_places, -(-places // _GROWTH) * _GROWTH)
        grown = [
            [tensor.new_zeros(max(rows, have_rows), tensor.shape[1], more, tensor.shape[3]) for tensor in layer]
            for layer in self._layers
        ]
        for layer, larger in zip(self._layers, grown, strict=True):
            for tensor, place in zip(layer, larger, strict=True):
                place[:have_rows, :, :have_places] = tensor
        self._layers = grown
