"""Recall at 5, the share of questions with a right passage among the best five: embedder, BM25, and both together."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.retrieval.tasks import SearchTask
from qwen_allinone.eval.metrics import Proportion

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

Scores = NDArray[np.float64]
Scorer = Callable[[list[str], list[str]], Scores]
"""Questions and passages to scores. *Shape:* (questions, passages)."""

NESTED = (64, 128, 256, 448)  # the first so many dimensions of the bundled embedder are vectors of their own
_HALF_RANK = 60  # the constant of reciprocal rank fusion


def table(tasks: Sequence[SearchTask], folder: Path) -> str:
    """Return recall at 5 of a saved model as a Markdown table, next to BM25 and both, with 95 % Wilson intervals."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    sizes = " | ".join(f"{size} dimensions" for size in NESTED)
    lines = [
        f"| held out | questions | passages | {sizes} | cut passages | BM25 | both together |",
        "|---" * (6 + len(NESTED)) + "|",
    ]
    for task in tasks:
        questions, passages = model.encode(task.questions), model.encode(task.passages)
        nested = [_nested_cosines(questions, passages, size) for size in NESTED]
        words = bm25(task.questions, task.passages)
        cut = _of_pieces(task, lambda left, right: _nested_cosines(model.encode(left), model.encode(right), NESTED[-1]))
        figures = [*(_shown(task, scores) for scores in nested), _shown(task, cut), _shown(task, words)]
        cells = [task.name, f"{len(task.questions):,}", f"{len(task.passages):,}", *figures]
        lines.append(f"| {' | '.join([*cells, _shown(task, fused(nested[-1], words))])} |")
    return "\n".join(lines)


def hits_at_5(task: SearchTask, scores: Scores) -> Proportion:
    """Count the questions with a right passage among the best five."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    hits = sum(bool(set(row.tolist()) & right) for row, right in zip(best, task.answers, strict=True))
    return Proportion(hits, len(task.questions))


def bm25(questions: list[str], passages: list[str]) -> Scores:
    """Score by BM25 over character bigrams (Chinese) or words (English)."""
    from rank_bm25 import BM25Okapi

    index = BM25Okapi([_terms(passage) for passage in passages])
    return np.array([index.get_scores(_terms(question)) for question in questions])


def fused(*rankings: Scores) -> Scores:
    """Fuse by reciprocal rank (Cormack et al., 2009). *Shape:* that of each ranking."""
    ranks = [np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1) for scores in rankings]
    return np.asarray(sum(1 / (_HALF_RANK + 1 + rank) for rank in ranks), dtype=np.float64)


def cosines(embedder: "Embeddings", left: Sequence[str], right: Sequence[str]) -> Scores:
    """Return cosines by an embedder whose vectors have unit length. *Shape:* (left, right)."""
    vectors = [np.array(embedder.embed_documents(list(texts))) for texts in (left, right)]
    return np.asarray(vectors[0] @ vectors[1].T, dtype=np.float64)


def _nested_cosines(left: NDArray[np.float32], right: NDArray[np.float32], size: int) -> Scores:
    """Return cosines of the first so many dimensions."""
    units = [part[:, :size] / np.linalg.norm(part[:, :size], axis=1, keepdims=True) for part in (left, right)]
    return np.asarray(units[0].astype(np.float64) @ units[1].astype(np.float64).T)


def _of_pieces(task: SearchTask, score: Scorer) -> Scores:
    """Score passages cut as a knowledge base cuts them; a passage counts as its best piece."""
    from qwen_allinone.memory.passages import SourceFile

    pieces: list[str] = []
    starts: list[int] = []
    for passage in task.passages:
        starts.append(len(pieces))
        pieces += [part.text for part in SourceFile("passage.txt", passage).sections()]
    scores = score(task.questions, pieces)
    return np.asarray(np.maximum.reduceat(scores, starts, axis=1))


def _shown(task: SearchTask, scores: Scores) -> str:
    found = hits_at_5(task, scores)
    low, high = found.interval or (0.0, 0.0)
    return f"{found.hits / found.n:.3f} ({low:.3f} to {high:.3f})"


def _terms(text: str) -> list[str]:
    if not re.search("[\u3400-\u9fff]", text):
        return re.findall(r"\w+", text.lower())
    plain = re.sub(r"\s", "", text.lower())
    return [plain[i : i + 2] for i in range(len(plain) - 1)] or [plain]
