"""Trains the bundled embedder: one vector per token, a text is the mean of its tokens.

    python -m training.embedder --data DIR [--out FOLDER] [--seed 0]

First vectors come from co-occurrence; then pairs of texts that belong together are pulled towards each other and away
from the rest of their batch (InfoNCE). While it trains, a token's vector is its own part plus the mean of its
characters' parts (for Latin words: of their letter 3- and 4-grams), so that rare words learn from frequent ones; what
is saved is the sum. The last thing printed is recall at 5 on the held-out tasks, next to BM25.
"""

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, trainers
from tokenizers.models import BPE
from torch.nn.functional import cross_entropy, embedding_bag, normalize

from qwen_allinone.memory.embedder import bundled_folder
from training import cooccurrence, retrieval_data
from training.retrieval_data import Pair, SearchTask

TOKENS = 13_000
DIMENSION = 256
EPOCHS = 4
BATCH = 512
LEARNING_RATE = 3e-3
TEMPERATURE = 0.05
WINDOW = 8  # tokens to each side that count as company
RARITY = 3e-4  # share of all tokens from which a token counts half
LONGEST = 256  # tokens of a text that are read in training

_WORDS = Regex(r"[\p{Latin}]+|[\u3400-\u9fff\uf900-\ufaff]+|[0-9]|[^\s]")
_Ids = list[NDArray[np.int64]]


def train_tokenizer(texts: list[str]) -> Tokenizer:
    """A lower-casing byte-level BPE over Latin words, Han runs (up to four characters) and single other signs."""
    tokenizer = Tokenizer(BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_WORDS, "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS, min_frequency=3, initial_alphabet=alphabet, max_token_length=12, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


class TokenTable(torch.nn.Module):
    """The vectors of all tokens: each token's own part plus the mean of its letters' parts."""

    def __init__(self, tokenizer: Tokenizer, vectors: NDArray[np.float32]) -> None:
        super().__init__()
        first = torch.from_numpy(vectors)
        self.shares = _letter_shares(tokenizer)
        users = torch.sparse.sum(self.shares.t(), 1).to_dense()[:, None]
        self.own = torch.nn.Parameter(first.clone())
        self.letters = torch.nn.Parameter(torch.sparse.mm(self.shares.t(), first) / (users + 1e-9))

    def forward(self) -> torch.Tensor:
        """*Shape:* (tokens, dimension)."""
        spread: torch.Tensor = torch.sparse.mm(self.shares, self.letters)
        return self.own + spread


@dataclass(frozen=True)
class EncodedPairs:
    """Pairs of one data set as token ids."""

    left: _Ids
    right: _Ids
    groups: torch.Tensor

    @classmethod
    def of(cls, tokenizer: Tokenizer, pairs: list[Pair]) -> "EncodedPairs":
        groups = np.unique([pair.group for pair in pairs], return_inverse=True)[1]
        left = _encode(tokenizer, [pair.left for pair in pairs])
        return cls(left, _encode(tokenizer, [pair.right for pair in pairs]), torch.from_numpy(groups))


def first_vectors(tokenizer: Tokenizer, texts: list[str], *, seed: int) -> NDArray[np.float32]:
    """A vector for every token; its length is the token's smooth inverse frequency. *Shape:* (tokens, dimension).

    Source: Arora et al., 2017, "A Simple but Tough-to-Beat Baseline for Sentence Embeddings".
    """
    ids = [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]
    size = tokenizer.get_vocab_size()
    vectors = cooccurrence.token_vectors(ids, size=size, width=DIMENSION, window=WINDOW, seed=seed)
    share = np.bincount([token for text in ids for token in text], minlength=size) / max(1, sum(map(len, ids)))
    weighted: NDArray[np.float32] = (vectors * (RARITY / (RARITY + share))[:, None]).astype(np.float32)
    return weighted


def contrast(table: TokenTable, sets: list[EncodedPairs], *, seed: int) -> None:
    """Train the table on all pairs; every batch comes from one data set."""
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.Adam(table.parameters(), lr=LEARNING_RATE)
    steps = EPOCHS * sum(1 for _ in _batches(sets, np.random.default_rng(seed)))
    for step, (pairs, rows) in enumerate(batch for _ in range(EPOCHS) for batch in _batches(sets, rng)):
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * max(0.02, 1 - step / steps)
        vectors = table()
        left = _texts_of(vectors, [_crop(pairs.left[row], rng) for row in rows])
        right = _texts_of(vectors, [_crop(pairs.right[row], rng) for row in rows])
        loss = _info_nce(left, right, pairs.groups[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step}/{steps} loss {loss.item():.3f}", flush=True)


def save(tokenizer: Tokenizer, vectors: torch.Tensor, folder: Path) -> None:
    """Write a sentence-transformers folder with 16-bit weights; a model card that is there already is kept."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

    embedding = StaticEmbedding(tokenizer, embedding_weights=vectors.half())
    SentenceTransformer(modules=[embedding, Normalize()], device="cpu").save(str(folder), create_model_card=False)
    for path in folder.rglob("tokenizer.json"):
        tokenizer.save(str(path), pretty=False)
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o644)  # safetensors writes files that only their owner can read


def recall_at_5(task: SearchTask, score: Callable[[list[str], list[str]], NDArray[np.float64]], *, cut: bool) -> float:
    """Share of questions with a right passage among the best five.

    Args:
        task: what to search.
        score: questions and passages to scores. *Shape:* (questions, passages).
        cut: whether passages are cut as a knowledge base cuts them; a passage then counts as its best piece.
    """
    pieces = [_cut(passage) if cut else [passage] for passage in task.passages]
    scores = score(task.questions, [piece for some in pieces for piece in some])
    starts = [0, *accumulate(len(some) for some in pieces)][:-1]
    best = np.argsort(-np.maximum.reduceat(scores, starts, axis=1), axis=1)[:, :5]
    return float(np.mean([bool(set(row.tolist()) & right) for row, right in zip(best, task.answers, strict=True)]))


def bm25(questions: list[str], passages: list[str]) -> NDArray[np.float64]:
    """BM25 over character bigrams (Chinese) or words (English)."""
    from rank_bm25 import BM25Okapi  # type: ignore[import-untyped]

    index = BM25Okapi([_terms(passage) for passage in passages])
    return np.array([index.get_scores(_terms(question)) for question in questions])


def main() -> None:
    """Train, save, and print how good it is."""
    parser = argparse.ArgumentParser(description="Train the bundled embedder.")
    parser.add_argument("--data", type=Path, required=True, help="folder of gzipped JSON lines")
    parser.add_argument("--out", type=Path, default=bundled_folder(), help="folder to write the model to")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    start = perf_counter()
    data = retrieval_data.load(given.data, given.seed)
    tokenizer = train_tokenizer(data.texts)
    vectors = first_vectors(tokenizer, data.texts, seed=given.seed)
    print(f"first vectors after {perf_counter() - start:.0f} s", flush=True)
    table = TokenTable(tokenizer, vectors)
    contrast(table, [EncodedPairs.of(tokenizer, pairs) for pairs in data.pairs.values()], seed=given.seed)
    save(tokenizer, table().detach(), given.out)
    print(f"trained in {perf_counter() - start:.0f} s")
    print_figures(data.held_out, given.out)


def print_figures(tasks: Sequence[SearchTask], folder: Path) -> None:
    """Print recall at 5 of the saved model and of BM25, on whole and on cut passages."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")

    def cosine(questions: list[str], passages: list[str]) -> NDArray[np.float64]:
        left, right = model.encode(questions), model.encode(passages)
        return np.asarray(left.astype(np.float64) @ right.astype(np.float64).T)

    print("R@5               questions passages   embedder   cut    BM25   cut")
    for task in tasks:
        values = [recall_at_5(task, score, cut=cut) for score in (cosine, bm25) for cut in (False, True)]
        columns = "   ".join(f"{value:.3f}" for value in values)
        print(f"{task.name:<18}{len(task.questions):>9}{len(task.passages):>9}      {columns}", flush=True)


def _letter_shares(tokenizer: Tokenizer) -> torch.Tensor:
    """Which letters make up which token, every row adding up to 1. *Shape:* (tokens, letters), sparse."""
    decoder = decoders.ByteLevel()
    numbers: dict[str, int] = {}
    cells: list[tuple[int, int, float]] = []
    for token in range(tokenizer.get_vocab_size()):
        letters = _letters(decoder.decode([tokenizer.id_to_token(token) or ""]))
        cells += [(token, numbers.setdefault(letter, len(numbers)), 1 / len(letters)) for letter in letters]
    rows, columns, values = zip(*cells, strict=True)
    size = (tokenizer.get_vocab_size(), len(numbers))
    places = torch.tensor([rows, columns])
    return torch.sparse_coo_tensor(places, torch.tensor(values), size, check_invariants=True).coalesce()


def _letters(token: str) -> list[str]:
    if "\ufffd" in token:  # part of a character
        return []
    if not re.match("[a-z]", token):
        return list(token)
    marked = f"^{token}$"
    return [marked[i : i + size] for size in (3, 4) for i in range(len(marked) - size + 1)] if len(token) > 2 else []


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
    return normalize(embedding_bag(torch.from_numpy(np.concatenate(ids)), vectors, offsets, mode="mean"), dim=1)


def _info_nce(left: torch.Tensor, right: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    same = (groups[:, None] == groups[None, :]) & ~torch.eye(len(groups), dtype=torch.bool)
    scores = (left @ right.T / TEMPERATURE).masked_fill(same, -1e4)
    own = torch.arange(len(groups))
    return (cross_entropy(scores, own) + cross_entropy(scores.T, own)) / 2


def _cut(passage: str) -> list[str]:
    from qwen_allinone.memory.passages import SourceFile

    return [section.text for section in SourceFile("passage.txt", passage).sections()]


def _terms(text: str) -> list[str]:
    if not re.search("[\u3400-\u9fff]", text):
        return re.findall(r"\w+", text.lower())
    plain = re.sub(r"\s", "", text.lower())
    return [plain[i : i + 2] for i in range(len(plain) - 1)] or [plain]


if __name__ == "__main__":
    main()
