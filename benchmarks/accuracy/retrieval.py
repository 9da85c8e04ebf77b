"""Recall at 5 of the bundled embedder, of BM25, and of both together, on what the embedder did not learn from."""

from pathlib import Path

from benchmarks.accuracy.figure import Figure, Floor, Target
from benchmarks.retrieval import tasks
from benchmarks.retrieval.recall import Scores, bm25, cosines, fused, hits_at_5
from benchmarks.retrieval.tasks import SearchTask
from qwen_allinone.eval.metrics import Proportion
from qwen_allinone.memory.embedder import load_embedder

_CLOSE, _AHEAD = ("kdconv travel", "xquad zh"), ("atec pairs", "bustm pairs")
"""Tasks on which the embedder should come close to BM25, and tasks on which it should do better."""
_TASKS = (*_CLOSE, "xquad en", *_AHEAD)
_NEAR = 0.05


def figures(data: Path) -> list[Figure]:
    """Return three figures per task."""
    embedder = load_embedder()
    found: list[Figure] = []
    for task in tasks.measured_on(data):
        if task.name in _TASKS:
            found += task_figures(task, cosines(embedder, task.questions, task.passages))
    return found


def task_figures(task: SearchTask, vectors: Scores) -> list[Figure]:
    """Return BM25, the embedder next to it, and both by reciprocal rank fusion next to the better one."""
    words = bm25(task.questions, task.passages)
    by_words, by_vectors, by_both = (hits_at_5(task, scores) for scores in (words, vectors, fused(vectors, words)))
    return rival_figures(task.name, by_words, by_vectors, by_both)


def rival_figures(name: str, by_words: Proportion, by_vectors: Proportion, by_both: Proportion) -> list[Figure]:
    """Return figures whose targets depend on the others."""
    reached = by_words.value or 0.0
    better = max(reached, by_vectors.value or 0.0)
    return [
        Figure.from_share(f"recall at 5, {name}: BM25", by_words),
        Figure.from_share(
            f"recall at 5, {name}: embedder", by_vectors, floor=Floor(reached, "BM25"), target=_target(name, reached)
        ),
        Figure.from_share(
            f"recall at 5, {name}: both",
            by_both,
            floor=Floor(better, "the better one alone"),
            target=Target(better, "above"),
        ),
    ]


def _target(name: str, reached: float) -> Target | None:
    if name in _CLOSE:
        return Target(reached - _NEAR)
    return Target(reached, "above") if name in _AHEAD else None
