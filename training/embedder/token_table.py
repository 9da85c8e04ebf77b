"""Vectors of all tokens of the embedder, before and while they are trained."""

import re
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from training import cooccurrence

DIMENSION = 448
WINDOW = 8  # tokens to each side that count as context
RARITY = 3e-4  # share of all tokens from which a token counts half
CONTEXT = 0.2  # share of the contexts in a first vector; the rest is noise that tells it from all others

_Vectors = NDArray[np.float32]


class TokenTable(torch.nn.Module):
    """Each token's own part plus the mean of its letters' parts, so that rare words learn from frequent ones."""

    def __init__(self, tokenizer: Tokenizer, vectors: _Vectors) -> None:
        super().__init__()
        first = torch.from_numpy(vectors)
        self.shares = _letter_shares(tokenizer)
        users = torch.sparse.sum(self.shares.t(), 1).to_dense()[:, None]
        self.own = torch.nn.Parameter(first.clone())
        self.letters = torch.nn.Parameter(torch.sparse.mm(self.shares.t(), first) / (users + 1e-9))

    def forward(self) -> torch.Tensor:
        """Return the vectors. *Shape:* (tokens, dimension)."""
        spread: torch.Tensor = torch.sparse.mm(self.shares, self.letters)
        return self.own + spread


def first_vectors(
    tokenizer: Tokenizer, texts: Sequence[str], translations: Sequence[tuple[str, str]], *, seed: int
) -> _Vectors:
    """Return a vector for every token, as long as its smooth inverse frequency. *Shape:* (tokens, dimension).

    In the texts a word stands for its translation every second time, so both share their contexts; they also share
    their noise. Source of the length: Arora et al., 2017, "A Simple but Tough-to-Beat Baseline for Sentence
    Embeddings".
    """
    rng = np.random.default_rng(seed)
    size = tokenizer.get_vocab_size()
    ids = [np.array(text.ids, dtype=np.int64) for text in tokenizer.encode_batch(list(texts), add_special_tokens=False)]
    partners = _partners(tokenizer, translations)
    mixed = [np.where(rng.random(len(text)) < 0.5, partners[text], text) for text in ids]
    contexts = cooccurrence.token_vectors(
        (text.tolist() for text in mixed), size=size, width=DIMENSION, window=WINDOW, seed=seed
    )
    noise = rng.standard_normal((size, DIMENSION)).astype(np.float32) / np.sqrt(DIMENSION)
    noise = _unit(noise + noise[partners])
    share = np.bincount(np.concatenate(ids), minlength=size) / max(1, sum(map(len, ids)))
    vectors = _unit(CONTEXT * contexts + (1 - CONTEXT) * noise)
    weighted: _Vectors = (vectors * (RARITY / (RARITY + share))[:, None]).astype(np.float32)
    return weighted


def _partners(tokenizer: Tokenizer, translations: Sequence[tuple[str, str]]) -> NDArray[np.int64]:
    """Return for each token the token that translates it, or itself."""
    partners = np.arange(tokenizer.get_vocab_size())
    for left, right in translations:
        ids = [tokenizer.encode(word, add_special_tokens=False).ids for word in (left, right)]
        if len(ids[0]) == len(ids[1]) == 1 and all(partners[one[0]] == one[0] for one in ids):
            partners[ids[0][0]], partners[ids[1][0]] = ids[1][0], ids[0][0]
    return partners


def _unit(vectors: _Vectors) -> _Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-6), dtype=np.float32)


def _letter_shares(tokenizer: Tokenizer) -> torch.Tensor:
    """Return the shares of letters in tokens, every row adding up to 1. *Shape:* (tokens, letters), sparse."""
    numbers: dict[str, int] = {}
    cells: list[tuple[int, int, float]] = []
    for token in range(tokenizer.get_vocab_size()):
        letters = _letters(tokenizer.id_to_token(token) or "")
        cells += [(token, numbers.setdefault(letter, len(numbers)), 1 / len(letters)) for letter in letters]
    rows, columns, values = zip(*cells, strict=True)
    size = (tokenizer.get_vocab_size(), len(numbers))
    places = torch.tensor([rows, columns])
    return torch.sparse_coo_tensor(places, torch.tensor(values), size, check_invariants=True).coalesce()


def _letters(token: str) -> list[str]:
    """Return the characters of a token; of a Latin word its 3- and 4-grams, with its ends marked."""
    if token.startswith("<0x"):  # a byte
        return []
    if not re.match("[a-z]", token):
        return list(token)
    if len(token) <= 2:
        return []
    marked = f"^{token}$"
    return [*_runs(marked, 3), *_runs(marked, 4)]


def _runs(word: str, size: int) -> list[str]:
    return [word[start : start + size] for start in range(len(word) - size + 1)]
