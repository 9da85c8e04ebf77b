"""Contrastive training of the token table on pairs of texts that belong together."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, chain

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy, embedding_bag, normalize

from training.embedder.pairs import Pair
from training.embedder.token_table import TokenTable

EPOCHS = 4
BATCH = 512
LEARNING_RATE = 2e-3
TEMPERATURE = 0.05
NESTED = (64, 128, 256, 448)  # the first so many dimensions are vectors of their own, with a weight as large
LONGEST = 256  # tokens of a text that are read in training

_Ids = list[NDArray[np.int64]]


@dataclass(frozen=True)
class EncodedPairs:
    """Pairs of one data set as token ids."""

    left: _Ids
    right: _Ids
    groups: torch.Tensor

    @classmethod
    def from_pairs(cls, tokenizer: Tokenizer, pairs: list[Pair]) -> "EncodedPairs":
        groups = np.unique([pair.group for pair in pairs], return_inverse=True)[1]
        left = _encode(tokenizer, [pair.left for pair in pairs])
        return cls(left, _encode(tokenizer, [pair.right for pair in pairs]), torch.from_numpy(groups))


def contrast(table: TokenTable, sets: list[EncodedPairs], *, seed: int) -> None:
    """Pull both texts of a pair together and away from the rest of their batch (InfoNCE).

    Every batch comes from one data set. The loss is that of all nested vectors together (Kusupati et al., 2022,
    "Matryoshka Representation Learning").
    """
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.Adam(table.parameters(), lr=LEARNING_RATE)
    steps = EPOCHS * sum(1 for _ in _batches(sets, np.random.default_rng(seed)))
    epochs = (_batches(sets, rng) for _ in range(EPOCHS))
    for step, (pairs, rows) in enumerate(chain.from_iterable(epochs)):
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * max(0.02, 1 - step / steps)
        vectors = table()
        left = _texts_of(vectors, [_crop(pairs.left[row], rng) for row in rows])
        right = _texts_of(vectors, [_crop(pairs.right[row], rng) for row in rows])
        losses = [size * _info_nce(left[:, :size], right[:, :size], pairs.groups[rows]) for size in NESTED]
        loss = torch.stack(losses).sum() / sum(NESTED)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step}/{steps} loss {loss.item():.3f}", flush=True)


def _encode(tokenizer: Tokenizer, texts: list[str]) -> _Ids:
    encoded = tokenizer.encode_batch(texts, add_special_tokens=False)
    return [np.array(text.ids or [0], dtype=np.int64) for text in encoded]


def _batches(sets: list[EncodedPairs], rng: np.random.Generator) -> Iterator[tuple[EncodedPairs, NDArray[np.int64]]]:
    batches = []
    for pairs in sets:
        order = rng.permutation(len(pairs.left))
        parts = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        batches += [(pairs, part) for part in parts if len(part) >= min(32, len(order))]
    for index in rng.permutation(len(batches)):
        yield batches[index]


def _crop(ids: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    start = int(rng.integers(0, len(ids) - LONGEST + 1)) if len(ids) > LONGEST else 0
    return ids[start : start + LONGEST]


def _texts_of(vectors: torch.Tensor, ids: _Ids) -> torch.Tensor:
    offsets = torch.tensor([0, *accumulate(len(text) for text in ids)][:-1])
    return embedding_bag(torch.from_numpy(np.concatenate(ids)), vectors, offsets, mode="mean")


def _info_nce(left: torch.Tensor, right: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    same = (groups[:, None] == groups[None, :]) & ~torch.eye(len(groups), dtype=torch.bool)
    scores = (normalize(left, dim=1) @ normalize(right, dim=1).T / TEMPERATURE).masked_fill(same, -1e4)
    own = torch.arange(len(groups))
    return (cross_entropy(scores, own) + cross_entropy(scores.T, own)) / 2
