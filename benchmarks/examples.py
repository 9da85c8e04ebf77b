"""What examples are worth: accuracy of learned decisions by the number of examples of an option.

Examples are drawn from those that ship, and judged on the labelled sets that ship; those of user routes are drawn from
``sets/custom_routes.jsonl`` and judged on its other rows. n-grams learn from the same examples. Means of five draws are
printed, and go to ``benchmarks/results/examples.json``.
"""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import typer

from benchmarks.accuracy.cases import records
from benchmarks.interleaved import RESULTS, Model
from qwen_allinone.eval import LabelledSet
from qwen_allinone.eval.ngrams import NgramClassifier
from qwen_allinone.model import Choice, Message, SharedQwen
from qwen_allinone.model.engine.base import Reading, ReadRequest
from qwen_allinone.model.prompt.language import language_of
from qwen_allinone.model.prompt.layout import persona
from qwen_allinone.router import builtin_routes, route_question
from qwen_allinone.tools.sentiment import mood_question

DRAWS = 5
COUNTS = (2, 4, 10, 20, 50, 100, 200, 400)
"""Examples of an option."""
Rows = Sequence[tuple[str, Sequence[str]]]
"""Texts, each with its right labels."""
Labelled = Mapping[str, Sequence[str]]
"""Label to its texts."""


@dataclass(frozen=True)
class Task:
    """Examples to draw from, and rows that judge; without rows, the examples that were not drawn do."""

    name: str
    examples: Labelled
    rows: Rows = ()

    def draws(self, count: int) -> Iterator[tuple[dict[str, tuple[str, ...]], Rows]]:
        """Yield so many examples of each label, with the rows that judge them."""
        if min(map(len, self.examples.values())) < count * (1 if self.rows else 2):
            return
        for seed in range(DRAWS):
            drawn: dict[str, tuple[str, ...]] = {}
            rest: list[tuple[str, Sequence[str]]] = []
            for label, texts in self.examples.items():
                mixed = random.Random(f"{seed} {label}").sample(texts, len(texts))
                drawn[label] = tuple(mixed[:count])
                rest += [(text, [label]) for text in mixed[count:]]
            yield drawn, self.rows or rest


def main(*, model: Model = "bundled", out: Annotated[Path | None, typer.Option(help="Result file.")] = None) -> None:
    """Fit, judge, print and write the result file; those of several models stand beside each other."""
    qwen = SharedQwen.load(model)
    curves = [curve(qwen, task) for task in tasks()]
    file = out or RESULTS / "examples.json"
    results = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    name = "bundled" if model == "bundled" else Path(model).name
    dtype = qwen.quantization.dtype if qwen.quantization else "unknown"
    results[name] = {
        "command": f"python -m benchmarks.examples --model {name}",
        "dtype": dtype,
        "draws": DRAWS,
        "tasks": curves,
    }
    file.write_text(json.dumps(results, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def tasks() -> list[Task]:
    """Return the default routes, the mood, and eight routes of a user."""
    routes = LabelledSet.builtin("routes").rows
    moods = LabelledSet.builtin("sentiment").rows
    mood = mood_question("en").examples
    own: dict[str, list[str]] = {}
    for row in records("custom_routes"):
        own.setdefault(row["label"], []).append(row["text"])
    return [
        Task("route", route_question(builtin_routes(), "en").examples, [(row.text, row.labels) for row in routes]),
        Task("mood", mood, [(row.text, row.labels) for row in moods]),
        Task("eight user routes", own),
    ]


def curve(qwen: SharedQwen, task: Task) -> dict[str, Any]:
    """Return the mean accuracy for each number of examples, and print it."""
    texts = [text for text, _ in task.rows] or [text for own in task.examples.values() for text in own]
    readings = dict(zip(texts, read(qwen, texts), strict=True))
    points = []
    for count in COUNTS:
        learned: list[float] = []
        ngrams: list[float] = []
        for drawn, rows in task.draws(count):
            question = Choice(instructions=task.name, criteria=dict.fromkeys(drawn), examples=drawn)
            head = qwen.learner.fitted(question)
            assert head is not None  # two examples of each option are enough
            probabilities = [head.probabilities(readings[text]) for text, _ in rows]
            learned.append(share([max(each, key=each.__getitem__) for each in probabilities], rows))
            classifier = NgramClassifier([(text, label) for label, own in drawn.items() for text in own])
            ngrams.append(share([classifier.predict(text) for text, _ in rows], rows))
            judged = len(rows)
        if learned:
            points.append({"examples": count, "n": judged, "learned": mean(learned), "n-grams": mean(ngrams)})
            typer.echo(f"{task.name:18} {count:4} an option  learned {mean(learned):.3f}  n-grams {mean(ngrams):.3f}")
    return {"task": task.name, "points": points}


def read(qwen: SharedQwen, texts: Sequence[str]) -> list[Reading]:
    """Return hidden states of each text."""
    requests = []
    for text in texts:
        conversation = [persona(language_of(text)), Message("user", qwen.truncate(text).text)]
        requests.append(ReadRequest(conversation, qwen.learner.layers, cache_prefix=False))
    return [pending.result() for pending in qwen.engine.read(requests)]


def share(predicted: Sequence[str | None], rows: Rows) -> float:
    """Return the share of rows one of whose labels was predicted."""
    return mean(label in labels for label, (_, labels) in zip(predicted, rows, strict=True))


if __name__ == "__main__":
    typer.run(main)
