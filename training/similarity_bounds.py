"""Prints what the similarity bounds of the memory keep and what they leave out, for every bound.

    python -m training.similarity_bounds --data DIR [--embedder FOLDER]

Facts: the short list in ``tests/memory/facts.json``. Passages: 60 held-out paragraphs of XQuAD cut as a knowledge base
cuts them, and 200 questions that they answer against 200 questions about paragraphs that are not among them.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from langchain_core.embeddings import Embeddings
from numpy.typing import NDArray

from qwen_allinone.memory.embedder import load_embedder
from qwen_allinone.memory.passages import SourceFile
from training import retrieval_data

FACTS = Path(__file__).parents[1] / "tests" / "memory" / "facts.json"
KEPT = 60  # paragraphs in the base; the others are what the base knows nothing about
ASKED = 200

_Scores = NDArray[np.float64]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="Measure the similarity bounds of the memory.")
    parser.add_argument("--data", type=Path, required=True, help="folder of gzipped JSON lines")
    parser.add_argument("--embedder", default="bundled", help="a sentence-transformers folder")
    given = parser.parse_args()
    embedder = load_embedder(given.embedder)
    _print_facts(embedder)
    for task in retrieval_data.load(given.data, 0).test:
        if task.name in ("xquad zh", "xquad en"):
            _print_passages(embedder, task)


def _print_facts(embedder: Embeddings) -> None:
    languages = json.loads(FACTS.read_text("utf-8")).values()
    right: dict[str, list[float]] = {"questions": [], "paraphrases": []}
    unrelated: list[float] = []
    for some in languages:
        for kind, found in right.items():
            scores = _cosines(embedder, list(some[kind]), some["facts"])
            found += [float(row[fact]) for row, fact in zip(scores, some[kind].values(), strict=True)]
        unrelated += _cosines(embedder, some["unrelated"], some["facts"]).max(axis=1).tolist()
    print("bound   facts kept: same word, other words   unrelated requests without any")
    for bound in np.arange(0.1, 0.6, 0.02):
        kept = [f"{sum(score >= bound for score in found)} of {len(found)}" for found in right.values()]
        print(f"{bound:.2f}    {kept[0]:>20}{kept[1]:>15}   {sum(score < bound for score in unrelated):>20} of 16")


def _print_passages(embedder: Embeddings, task: retrieval_data.SearchTask) -> None:
    pieces = [piece.text for text in task.passages[:KEPT] for piece in SourceFile("a.txt", text).sections()]
    best = _cosines(embedder, task.questions, pieces).max(axis=1)
    known = np.array([min(right) < KEPT for right in task.answers])
    answered, others = best[known][:ASKED], best[~known][:ASKED]
    print(f"\n{task.name}: bound, {len(answered)} questions with a passage kept, {len(others)} others left without any")
    for bound in np.arange(0.2, 0.7, 0.02):
        print(f"{bound:.2f}   {np.mean(answered >= bound):.3f}   {np.mean(others < bound):.3f}")


def _cosines(embedder: Embeddings, left: Sequence[str], right: Sequence[str]) -> _Scores:
    vectors = [np.array(embedder.embed_documents(list(texts))) for texts in (left, right)]
    return np.asarray(vectors[0] @ vectors[1].T, dtype=np.float64)


if __name__ == "__main__":
    main()
