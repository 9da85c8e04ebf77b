"""What has been read stays read: the states of prompt prefixes, found again by their token ids."""

import copy
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import DynamicCache

KeyValues = tuple[tuple["torch.Tensor", "torch.Tensor"], ...]
"""Per layer: keys and values. *Shape:* (1, kv_heads, seq_len, head_dim) each."""


@dataclass(frozen=True)
class CacheStatistics:
    """How often a prefix was found, and what the cache holds."""

    hits: int
    misses: int
    reused_tokens: int
    entries: int
    bytes: int


class PrefixCache:
    """Longest-match cache of states, bounded in bytes, least recently used out first.

    Key-value states can be cut anywhere, so a reading that goes on from another takes its place; those of a model with
    recurrent layers can only be gone on from as a whole. A cache holds one kind or the other.

    Args:
        max_bytes: upper bound of the stored tensors' size; 0 stores nothing.
    """

    def __init__(self, max_bytes: int = 256 * 2**20) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        self._bytes = self._hits = self._misses = self._reused = 0
        self._lock = Lock()
        self.cleared = 0
        """How often everything was forgotten: what was begun before must not be kept after."""

    @property
    def max_bytes(self) -> int:
        """Upper bound of the stored tensors' size; what exceeds a new one is dropped."""
        return self._max_bytes

    @max_bytes.setter
    def max_bytes(self, value: int) -> None:
        with self._lock:
            self._max_bytes = value
            self._drop()

    @property
    def statistics(self) -> CacheStatistics:
        """Counts since the start."""
        with self._lock:
            return CacheStatistics(self._hits, self._misses, self._reused, len(self._entries), self._bytes)

    def holds(self, ids: Sequence[int]) -> bool:
        """Whether the states of all of these ids are kept."""
        with self._lock:
            return self._holds(tuple(ids))

    def longest(self, ids: Sequence[int]) -> tuple[int, KeyValues | None]:
        """The states of the longest stored beginning of the ids, and its length in tokens (0 and None: nothing)."""
        length, states = self._longest(tuple(ids), whole=False)
        return length, states and tuple((keys[:, :, :length], values[:, :, :length]) for keys, values in states)

    def longest_whole(self, ids: Sequence[int]) -> "tuple[int, DynamicCache | None]":
        """A copy of the states of the longest stored prompt with which the ids begin, and its length."""
        length, states = self._longest(tuple(ids), whole=True)
        return length, copy.deepcopy(states)

    def _longest(self, ids: tuple[int, ...], *, whole: bool) -> tuple[int, Any]:
        with self._lock:
            best, length = None, 0
            for stored in reversed(self._entries):
                if stored[length : length + 1] != ids[length : length + 1]:  # cannot share more: the quick way out
                    continue
                shared = shared_length(stored, ids)
                if shared > length and (shared == len(stored) or not whole):
                    best, length = stored, shared
            if best is None:
                self._misses += 1
                return 0, None
            self._hits += 1
            self._reused += length
            self._entries.move_to_end(best)
            return length, self._entries[best]

    def store(self, ids: Sequence[int], states: "KeyValues | DynamicCache") -> None:
        """Keep the states of these ids, dropping the least recently used ones that no longer fit."""
        key = tuple(ids)
        size = _size(states)
        with self._lock:
            if size > self._max_bytes or self._holds(key):
                return
            if isinstance(states, tuple):
                for shorter in [stored for stored in self._entries if key[: len(stored)] == stored]:
                    self._bytes -= _size(self._entries.pop(shorter))
            self._entries[key] = states
            self._bytes += size
            self._drop()

    def _holds(self, ids: tuple[int, ...]) -> bool:
        return ids in self._entries or any(
            stored[: len(ids)] == ids for stored, states in self._entries.items() if isinstance(states, tuple)
        )

    def _drop(self) -> None:
        while self._bytes > self._max_bytes:
            _, dropped = self._entries.popitem(last=False)
            self._bytes -= _size(dropped)

    def clear(self) -> None:
        """Forget everything that was read."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0
            self.cleared += 1


def as_dynamic_cache(states: KeyValues | None) -> "DynamicCache":
    """A transformers cache that starts with these states; extending it leaves them untouched."""
    from transformers import DynamicCache

    return DynamicCache(ddp_cache_data=states) if states else DynamicCache()


def states_of(cache: "DynamicCache", length: int, *, row: int = 0) -> KeyValues:
    """Copies of the first ``length`` positions of one row of a transformers cache."""
    return tuple(
        (layer.keys[row : row + 1, :, :length].clone(), layer.values[row : row + 1, :, :length].clone())  # type: ignore[index,union-attr]
        for layer in cache.layers
    )


def shared_length(stored: Sequence[int], ids: Sequence[int]) -> int:
    """How many tokens two runs begin with in common."""
    length = 0
    for left, right in zip(stored, ids, strict=False):
        if left != right:
            break
        length += 1
    return length


def _size(states: "KeyValues | DynamicCache") -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(states))


def _tensors(states: "KeyValues | DynamicCache") -> "Iterator[torch.Tensor]":
    if isinstance(states, tuple):
        yield from (tensor for pair in states for tensor in pair)
        return
    for layer in states.layers:
        parts: list[Any] = [getattr(layer, name, None) for name in ("keys", "values")]
        parts += [
            tensor
            for name in ("conv_states", "recurrent_states")
            for tensor in (getattr(layer, name, None) or {}).values()
        ]
        yield from (tensor for tensor in parts if tensor is not None)
