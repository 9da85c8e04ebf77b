"""Prints what the similarity bounds of the memory keep and what they leave out, for every bound.

    python -m training.embedder.similarity_bounds --data DIR [--embedder FOLDER]

Facts: the short list in ``tests/memory/facts.json``. Passages: 60 held-out paragraphs of XQuAD cut as a knowledge base
cuts them, and 200 questions that they answer against 200 questions about paragraphs that are not among them.
"""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from langchain_core.embeddings import Embeddings

from qwen_allinone.memory.embeddings import load_embedder
from qwen_allinone.memory.passages import SourceFile
from training.embedder import retrieval_data
from training.embedder.figures import cosines

FACTS = Path(__file__).parents[2] / "tests" / "memory" / "facts.json"
KEPT = 60  # paragraphs in the base; the others are what the base knows nothing about
ASKED = 200


def main(
    *,
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of gzipped JSON lines.")],
    embedder: Annotated[str, typer.Option(help="A sentence-transformers folder.")] = "bundled",
) -> None:
    """Print both tables."""
    if missing := retrieval_data.missing(data):
        raise typer.BadParameter(f"{data} lacks the data sets {', '.join(missing)}")
    loaded = load_embedder(embedder)
    _print_facts(loaded)
    for task in retrieval_data.load(data, 0).test:
        if task.name in ("xquad zh", "xquad en"):
            _print_passages(loaded, task)


def _print_facts(embedder: Embeddings) -> None:
    languages = json.loads(FACTS.read_text("utf-8")).values()
    right: dict[str, list[float]] = {"questions": [], "paraphrases": []}
    unrelated: list[float] = []
    for some in languages:
        for kind, found in right.items():
            scores = cosines(embedder, list(some[kind]), some["facts"])
            found += [float(row[fact]) for row, fact in zip(scores, some[kind].values(), strict=True)]
        unrelated += cosines(embedder, some["unrelated"], some["facts"]).max(axis=1).tolist()
    print("bound   facts kept: same word, other words   unrelated requests without any")
    for bound in np.arange(0.1, 0.6, 0.02):
        kept = [f"{sum(score >= bound for score in found)} of {len(found)}" for found in right.values()]
        print(f"{bound:.2f}    {kept[0]:>20}{kept[1]:>15}   {sum(score < bound for score in unrelated):>20} of 16")


def _print_passages(embedder: Embeddings, task: retrieval_data.SearchTask) -> None:
    pieces = [piece.text for text in task.passages[:KEPT] for piece in SourceFile("a.txt", text).sections()]
    best = cosines(embedder, task.questions, pieces).max(axis=1)
    known = np.array([min(right) < KEPT for right in task.answers])
    answered, others = best[known][:ASKED], best[~known][:ASKED]
    print(f"\n{task.name}: bound, {len(answered)} questions with a passage kept, {len(others)} others left without any")
    for bound in np.arange(0.2, 0.7, 0.02):
        print(f"{bound:.2f}   {np.mean(answered >= bound):.3f}   {np.mean(others < bound):.3f}")


if __name__ == "__main__":
    typer.run(main)
