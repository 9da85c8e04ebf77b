"""KV cache of the replies that are written together."""

from typing import Any

import torch
from transformers import Cache

from qwen_allinone.model.engine.local.prefix_cache import KeyValues

_GROWTH = 128
"""Positions by which the tensors grow."""


class KVRows(Cache):
    """Key-value states of several rows of different lengths, in one tensor per layer that is written in place."""

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.lengths: list[int] = []
        """Tokens of each row."""
        self.begun: list[int] = []
        """Clears of the prefix cache before each row was begun."""
        self._tensors: list[list[torch.Tensor]] = []
        self._longest = 0
        self._places: tuple[torch.Tensor, ...] = ()

    def add(self, states: KeyValues, *, begun: int) -> None:
        """Put a row behind the others."""
        if not self._tensors:
            for pair in states:
                self._tensors.append([tensor.new_zeros(1, tensor.shape[1], 0, tensor.shape[3]) for tensor in pair])
        row, length = len(self.lengths), states[0][0].shape[2]
        self._make_room(row + 1, length)
        for layer, pair in zip(self._tensors, states, strict=True):
            for tensor, own in zip(layer, pair, strict=True):
                tensor[row, :, :length] = own[0]
                tensor[row, :, length:] = 0  # masked places still count if they hold no number
        self.lengths.append(length)
        self.begun.append(begun)

    def drop(self, row: int) -> None:
        """Remove a row; the last one takes its place, and with the last of them the memory goes too."""
        last = len(self.lengths) - 1
        for layer in self._tensors:
            for tensor in layer:
                tensor[row] = tensor[last]
        # The last row moves into the gap, so that the rows stay contiguous and nothing else is copied.
        for values in (self.lengths, self.begun):
            values[row] = values[last]
            values.pop()
        if not self.lengths:
            self._tensors = []

    def bytes_of(self, row: int) -> int:
        """Size of the states of a row."""
        size = 0
        for layer in self._tensors:
            size += sum(each.shape[1] * each.shape[3] * each.element_size() for each in layer)
        return size * self.lengths[row]

    def copy_of(self, row: int) -> KeyValues:
        """Copy the states of a row."""
        length = self.lengths[row]
        return tuple(
            (keys[row : row + 1, :, :length].clone(), values[row : row + 1, :, :length].clone())
            for keys, values in self._tensors
        )

    def mask(self, dtype: torch.dtype) -> torch.Tensor:
        """Return the additive mask of one more token for every row. *Shape:* (rows, 1, 1, longest + 1)."""
        lengths = torch.tensor(self.lengths)
        # Rows of other lengths share the tensors: places behind a row's own end are masked.
        hidden = torch.arange(int(lengths.max()) + 1)[None, :] > lengths[:, None]
        mask = torch.zeros(hidden.shape, dtype=dtype)
        return mask.masked_fill_(hidden, torch.finfo(dtype).min)[:, None, None]

    def about_to_grow(self, device: torch.device) -> "KVRows":
        """Make room for one more token of every row, whose states ``update`` is given next."""
        self._longest = max(self.lengths)
        self._make_room(len(self.lengths), self._longest + 1)
        lengths = torch.tensor(self.lengths, device=device)
        self._places = torch.arange(len(self.lengths), device=device), lengths
        return self

    def grown(self) -> None:
        """Count the token whose states were given."""
        self.lengths = [length + 1 for length in self.lengths]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the states of each row's token behind its others. *Shape:* (rows, kv_heads, 1, head_dim) each."""
        keys, values = self._tensors[layer_idx]
        rows, lengths = self._places
        keys[rows, :, lengths] = key_states[:, :, 0]
        values[rows, :, lengths] = value_states[:, :, 0]
        count = len(self.lengths)
        return keys[:count, :, : self._longest + 1], values[:count, :, : self._longest + 1]

    def get_seq_length(self, layer_idx: int = 0) -> int:  # noqa: ARG002
        """Return the length of the longest row."""
        return self._longest

    def _make_room(self, rows: int, places: int) -> None:
        have_rows, _, have_places, _ = self._tensors[0][0].shape
        if rows <= have_rows and places <= have_places:
            return
        # Grown in large steps: a copy of all states for every token would cost more than the token.
        more = max(have_places, -(-places // _GROWTH) * _GROWTH)
        for layer in self._tensors:
            for index, tensor in enumerate(layer):
                larger = tensor.new_zeros(max(rows, have_rows), tensor.shape[1], more, tensor.shape[3])
                larger[:have_rows, :, :have_places] = tensor
                layer[index] = larger
