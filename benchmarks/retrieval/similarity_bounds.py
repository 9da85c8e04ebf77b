"""``python -m benchmarks.retrieval.similarity_bounds``: what every bound of the memory keeps and what it leaves out.

Facts: a short list, such as ``tests/memory/facts.json``. Passages: 60 held-out paragraphs of XQuAD cut as a knowledge
base cuts them, and 200 questions that they answer against 200 questions about paragraphs that are not among them.
"""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from langchain_core.embeddings import Embeddings

from benchmarks.retrieval import tasks
from benchmarks.retrieval.__main__ import Data, check
from benchmarks.retrieval.recall import cosines
from benchmarks.retrieval.tasks import SearchTask
from qwen_allinone.memory.embedder import load_embedder
from qwen_allinone.memory.passages import SourceFile

KEPT = 60  # paragraphs in the base; the others are what the base knows nothing about
ASKED = 200


def main(
    *,
    data: Data,
    facts: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="JSON of facts and questions by language.")],
    embedder: Annotated[str, typer.Option(help="A sentence-transformers folder.")] = "bundled",
) -> None:
    """Print both tables."""
    check(data)
    loaded = load_embedder(embedder)
    _print_facts(loaded, facts)
    for task in tasks.measured_on(data):
        if task.name in ("xquad zh", "xquad en"):
            _print_passages(loaded, task)


def _print_facts(embedder: Embeddings, path: Path) -> None:
    languages = json.loads(path.read_text("utf-8")).values()
    right: dict[str, list[float]] = {"questions": [], "paraphrases": []}
    unrelated: list[float] = []
    for some in languages:
        for kind, found in right.items():
            scores = cosines(embedder, list(some[kind]), some["facts"])
            found += [float(row[fact]) for row, fact in zip(scores, some[kind].values(), strict=True)]
        unrelated += cosines(embedder, some["unrelated"], some["facts"]).max(axis=1).tolist()
    print("bound   facts kept: same word, other words   unrelated requests without any")
    for bound in np.arange(0.1, 0.6, 0.02):
        kept = [f"{np.sum(np.array(found) >= bound)} of {len(found)}" for found in right.values()]
        print(f"{bound:.2f}    {kept[0]:>20}{kept[1]:>15}   {sum(score < bound for score in unrelated):>20} of 16")


def _print_passages(embedder: Embeddings, task: SearchTask) -> None:
    pieces: list[str] = []
    for text in task.passages[:KEPT]:
        pieces += [piece.text for piece in SourceFile("a.txt", text).sections()]
    best = cosines(embedder, task.questions, pieces).max(axis=1)
    known = np.array([min(right) < KEPT for right in task.answers])
    answered, others = best[known][:ASKED], best[~known][:ASKED]
    print(f"\n{task.name}: bound, {len(answered)} questions with a passage kept, {len(others)} others left without any")
    for bound in np.arange(0.2, 0.7, 0.02):
        print(f"{bound:.2f}   {np.mean(answered >= bound):.3f}   {np.mean(others < bound):.3f}")


if __name__ == "__main__":
    typer.run(main)
