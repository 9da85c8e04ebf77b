"""What is judged is never trained on: texts of the evaluation sets, and intents whose labels are evaluated."""

import json
from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path

from qwen_allinone.eval.dataset import LabelledRow, LabelledSet
from qwen_allinone.eval.overlap import find_overlaps
from training.public_sets import held_out_labels, spoken
from training.sources import Item, Source

_BENCHMARK_SETS = Path(__file__).parents[1] / "benchmarks" / "sets"


def unjudged(sources: Sequence[Source]) -> list[Source]:
    """The sources without every row that shares a run of words with an evaluation row, or has an evaluated label."""
    files = sorted(_BENCHMARK_SETS.glob("*.jsonl"))
    judged = [json.loads(line) for path in files for line in path.read_text("utf-8").splitlines()]
    rows = [row for name in ("sentiment", "routes") for row in LabelledSet.builtin(name).rows]
    rows += [LabelledRow(row["text"], row["text"], (), row["language"]) for row in judged]
    candidates = [label for row in judged for label in row.get("candidates", (row.get("label"),))]
    labels = {spoken(label) for label in candidates if isinstance(label, str)} | held_out_labels()
    memories = {row["memory"] for row in judged if row.get("memory")}
    kept = []
    for source in sources:
        texts = [item.text for item in source.items]
        replies = [item.reply or "" for item in source.items]
        dropped = {overlap.index for column in (texts, replies) for overlap in find_overlaps(rows, column)}
        dropped |= {index for index, item in enumerate(source.items) if item.memory in memories}
        items = [_without_labels(item, labels) for index, item in enumerate(source.items) if index not in dropped]
        kept.append(replace(source, items=[item for item in items if item is not None]))
    return [source for source in kept if source.items]


def _without_labels(item: Item, labels: Container[str]) -> Item | None:
    """The item without such candidates; None if one of them is its answer."""
    if item.intent is None:
        return item
    if spoken(item.intent) in labels:
        return None
    intents = [label for label in item.intents if spoken(label) not in labels]
    meanings = {label: meaning for label, meaning in item.meanings.items() if spoken(label) not in labels}
    return replace(item, intents=intents, meanings=meanings)
