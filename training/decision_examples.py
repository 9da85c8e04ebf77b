"""``python -m training.decision_examples``: choose the examples that ship, from which models learn to decide.

They are drawn from the written texts without those that judge: routes into the route files, moods
and their strength into ``tools/examples``.
"""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, get_args

import typer
import yaml

import qwen_allinone
from qwen_allinone.model.prompt.language import Language
from training.__main__ import Exclude, exclusions
from training.sources import Item, Source
from training.written import EXAMPLES, written

PACKAGE = Path(qwen_allinone.__file__).parent
ROUTES_EACH = 200
"""Examples of a route and language."""
MOODS_EACH = 800
"""Examples of a mood and language."""
Labelled = Mapping[str, Sequence[str]]
"""Label to its texts."""


def main(
    *, exclude: Exclude = None, out: Annotated[Path, typer.Option(help="Folder of the package.")] = PACKAGE
) -> None:
    """Write the examples of routes, moods and their strength."""
    judged = exclusions(exclude)
    sources = {source.name: source.items for source in judged.applied_to([*written(), graded()])}
    for route in ("sentiment", "chat", "intent", "summary"):
        texts = {}
        for language in get_args(Language):
            own = [item.text for item in sources["inputs"] if item.routes == (route,) and item.language == language]
            texts[language] = drawn(own, ROUTES_EACH)
        write_route(out / "router" / "routes" / f"{route}.yaml", texts)
    moods: dict[str, list[str]] = {}
    for mood in ("positive", "negative"):
        moods[mood] = []
        for language in get_args(Language):
            own = [item.text for item in sources["opinions"] if item.mood == mood and item.language == language]
            moods[mood] += drawn(own, MOODS_EACH)
    write_examples(out / "tools" / "examples" / "mood.jsonl", moods)
    levels: dict[str, list[str]] = {}
    for item in sources["intensity"]:
        levels.setdefault(item.source, []).append(item.text)
    write_examples(out / "tools" / "examples" / "intensity.jsonl", levels)


def graded() -> Source:
    """Return the texts with the strength of their feeling, from 0 to 4, as their label."""
    items = []
    for file in sorted(EXAMPLES.glob("intensity.*.tsv"), reverse=True):
        for line in file.read_text(encoding="utf-8").splitlines():
            level, text = line.split("\t")
            items.append(Item(text, level))
    return Source("intensity", 0.0, items)


def drawn(texts: Sequence[str], count: int) -> list[str]:
    """Return so many of the texts, each once, in the order of their own; always the same ones."""
    once = sorted(set(texts))
    return sorted(random.Random(0).sample(once, min(count, len(once))))


def write_route(file: Path, texts: Mapping[Language, Sequence[str]]) -> None:
    """Replace the examples of a route file."""
    head, _, _ = file.read_text(encoding="utf-8").partition("examples:\n")
    listed = yaml.safe_dump({"examples": dict(texts)}, allow_unicode=True, sort_keys=False, width=10_000)
    file.write_text(head + listed, encoding="utf-8")


def write_examples(file: Path, labelled: Labelled) -> None:
    """Write a line of JSON for each text, in the order of the labels."""
    file.parent.mkdir(exist_ok=True)
    with file.open("w", encoding="utf-8", newline="\n") as lines:
        for label, texts in labelled.items():
            for text in texts:
                lines.write(json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    typer.run(main)
