"""KV cache of prompt prefixes, found again by their token ids."""

import copy
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

from qwen_allinone.errors import InputError
from qwen_allinone.model.engine.base import Features, Reading

if TYPE_CHECKING:
    import torch
    from transformers import DynamicCache

KeyValues = tuple[tuple["torch.Tensor", "torch.Tensor"], ...]
"""Per layer: keys and values. *Shape:* (1, kv_heads, seq_len, head_dim) each."""


@dataclass(frozen=True)
class CacheStatistics:
    """Counts since the start, and the present contents of a cache."""

    hits: int
    misses: int
    reused_tokens: int
    entries: int
    bytes: int


@dataclass(eq=False)
class _Entry:
    """A stored prefix."""

    states: Any
    """``KeyValues``, or a ``DynamicCache`` of a model whose states cannot be cut."""
    size: int
    """In bytes."""
    features: dict[tuple[int, int], Features] = field(default_factory=dict)
    """Number of leading tokens and of layers to the hidden states that were taken from this reading."""


class PrefixCache:
    """Longest-match cache of KV states, bounded in bytes, least recently used out first.

    Key-value states can be cut anywhere, so a reading that goes on from another takes its place; those of a model with
    recurrent layers can only be continued from as a whole. A cache holds one kind or the other.

    Args:
        max_bytes: upper bound of the stored tensors' size; 0 stores nothing.
    """

    def __init__(self, max_bytes: int = 256 * 2**20) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[tuple[int, ...], _Entry] = OrderedDict()
        self._bytes = self._hits = self._misses = self._reused = 0
        self._lock = Lock()
        self.clears = 0
        """Number of ``clear()`` calls. Work started before a clear must not be stored after it."""

    @property
    def max_bytes(self) -> int:
        """Upper bound of the stored tensors' size, 256 MiB by default; 0 keeps nothing."""
        return self._max_bytes

    @max_bytes.setter
    def max_bytes(self, value: int) -> None:
        if value < 0:
            raise InputError(f"max_bytes must be 0 or more, given {value}")
        with self._lock:
            self._max_bytes = value
            self._evict()

    @property
    def statistics(self) -> CacheStatistics:
        """Counts since the start."""
        with self._lock:
            return CacheStatistics(self._hits, self._misses, self._reused, len(self._entries), self._bytes)

    def holds(self, ids: Sequence[int]) -> bool:
        """Return True if the states of all of these ids are kept."""
        with self._lock:
            return self._holder(tuple(ids)) is not None

    def longest(self, ids: Sequence[int]) -> tuple[int, KeyValues | None]:
        """Find the longest stored beginning of the ids: its length in tokens and its states (0 and None: nothing)."""
        length, states = self._longest(tuple(ids), whole=False)
        return length, states and tuple((keys[:, :, :length], values[:, :, :length]) for keys, values in states)

    def longest_whole(self, ids: Sequence[int]) -> "tuple[int, DynamicCache | None]":
        """Find the longest stored prompt with which the ids begin: its length, and a copy of its states."""
        length, states = self._longest(tuple(ids), whole=True)
        return length, copy.deepcopy(states)

    def _longest(self, ids: tuple[int, ...], *, whole: bool) -> tuple[int, Any]:
        with self._lock:
            best, length = None, 0
            # The latest first: a conversation goes on from its last turn.
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
            return length, self._entries[best].states

    def store(self, ids: Sequence[int], states: "KeyValues | DynamicCache", *, begun: int = 0) -> None:
        """Keep the states of these ids, dropping the least recently used ones that no longer fit.

        Args:
            ids: the prefix.
            states: of all of it.
            begun: ``clears`` when the work began; what comes from before a clear is not kept.
        """
        key = tuple(ids)
        entry = _Entry(states, _size(states))
        with self._lock:
            if begun != self.clears or entry.size > self._max_bytes or self._holder(key) is not None:
                return
            if isinstance(states, tuple):
                # States can be cut anywhere, so the longer reading holds all that the shorter one did.
                for shorter in [stored for stored in self._entries if key[: len(stored)] == stored]:
                    replaced = self._remove(shorter)
                    entry.features |= replaced.features
            self._entries[key] = entry
            self._bytes += entry.size
            self._evict()

    def reading(self, ids: Sequence[int], layers: Sequence[int]) -> Reading | None:
        """Return the hidden states that were taken when these ids were read, None if some layer's are missing."""
        key = tuple(ids)
        with self._lock:
            entry = self._holder(key)
            kept = {} if entry is None else entry.features
            if any((len(key), layer) not in kept for layer in layers):
                return None
            return {layer: kept[len(key), layer] for layer in layers}

    def store_reading(self, ids: Sequence[int], reading: Reading) -> None:
        """Keep hidden states as long as the KV cache of the same ids is kept."""
        key = tuple(ids)
        with self._lock:
            entry = self._holder(key)
            if entry is not None:
                for layer, features in reading.items():
                    entry.features[len(key), layer] = features

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0
            self.clears += 1

    def _holder(self, ids: tuple[int, ...]) -> _Entry | None:
        """Return the entry that holds the states of all of these ids."""
        # An exact match is looked up; a longer entry that begins like this is searched for.
        if ids in self._entries:
            return self._entries[ids]
        for stored, entry in self._entries.items():
            if stored[: len(ids)] == ids and isinstance(entry.states, tuple):
                return entry
        return None

    def _evict(self) -> None:
        while self._bytes > self._max_bytes:
            self._remove(next(iter(self._entries)))

    def _remove(self, ids: tuple[int, ...]) -> _Entry:
        entry = self._entries.pop(ids)
        self._bytes -= entry.size
        return entry


def as_dynamic_cache(states: KeyValues | None) -> "DynamicCache":
    """Return a transformers cache that starts with these states; extending it leaves them untouched."""
    from transformers import DynamicCache

    return DynamicCache(ddp_cache_data=states) if states else DynamicCache()


def key_values(cache: "DynamicCache", length: int, *, row: int = 0) -> KeyValues:
    """Copy the first ``length`` positions of one row of a transformers cache."""
    return tuple(
        (layer.keys[row : row + 1, :, :length].clone(), layer.values[row : row + 1, :, :length].clone())  # type: ignore[index,union-attr]
        for layer in cache.layers
    )


def shared_length(stored: Sequence[int], ids: Sequence[int]) -> int:
    """Count the tokens that two runs begin with in common."""
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
        for keys, values in states:
            yield from (keys, values)
        return
    for layer in states.layers:
        parts: list[Any] = [getattr(layer, name, None) for name in ("keys", "values")]
        for name in ("conv_states", "recurrent_states"):
            parts += (getattr(layer, name, None) or {}).values()
        yield from (tensor for tensor in parts if tensor is not None)
