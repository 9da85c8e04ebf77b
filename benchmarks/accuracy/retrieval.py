"""Recall at 5 of the bundled embedder, of BM25, and of both together, on what the embedder did not learn from."""

from pathlib import Path

from training.embedder.figures import Scores, bm25, cosines, fused, hits_at_5

from benchmarks.accuracy.figure import Figure, Floor, Target
from qwen_allinone.eval.metrics import Proportion
from qwen_allinone.memory.embedder import load_embedder
from training.embedder import retrieval_data
from training.embedder.retrieval_data import SearchTask

_CLOSE, _AHEAD = ("kdconv travel", "xquad zh"), ("atec pairs", "bustm pairs")
"""Where the embedder should come close to BM25, and where it should do better."""
_TASKS = (*_CLOSE, "xquad en", *_AHEAD)
_NEAR = 0.05
_SEED = 0
"""With which the bundled embedder was trained, so that the pairs held out are the same."""


def figures(data: Path) -> list[Figure]:
    """Three figures per task."""
    embedder = load_embedder()
    tasks = [task for task in retrieval_data.load(data, _SEED).test if task.name in _TASKS]
    vectors = [cosines(embedder, task.questions, task.passages) for task in tasks]
    return [figure for task, scores in zip(tasks, vectors, strict=True) for figure in task_figures(task, scores)]


def task_figures(task: SearchTask, vectors: Scores) -> list[Figure]:
    """BM25, the embedder next to it, and both by reciprocal rank fusion next to the better one."""
    words = bm25(task.questions, task.passages)
    by_words, by_vectors, by_both = (hits_at_5(task, scores) for scores in (words, vectors, fused(vectors, words)))
    return rival_figures(task.name, by_words, by_vectors, by_both)


def rival_figures(name: str, by_words: Proportion, by_vectors: Proportion, by_both: Proportion) -> list[Figure]:
    """What is aimed at depends on what the others reach."""
    reached = by_words.value or 0.0
    better = max(reached, by_vectors.value or 0.0)
    return [
        Figure.of(f"recall at 5, {name}: BM25", by_words),
        Figure.of(
            f"recall at 5, {name}: embedder", by_vectors, floor=Floor(reached, "BM25"), target=_target(name, reached)
        ),
        Figure.of(
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
