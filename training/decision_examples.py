"""``python -m training.decision_examples``: choose the examples that ship, from which models learn to decide.

They are drawn from the written texts without those that judge: routes into the route files, moods,
their strength, and everyday services into ``tools/examples``.
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
from qwen_allinone.model.prompt.prompt_file import PromptFile
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
    """Write the examples of routes, moods, their strength, and everyday services."""
    judged = exclusions(exclude)
    sources = {
        source.name: source.items
        for source in judged.applied_to([*written(), labelled("intensity"), labelled("services")])
    }
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
    prompt = PromptFile.load("qwen_allinone.tools", "intent")
    english = dict(zip(prompt.entry("zh", "candidates"), prompt.entry("en", "candidates"), strict=True))
    services: dict[str, list[str]] = {}
    for item in sources["services"]:
        services.setdefault(english.get(item.source, item.source), []).append(item.text)
    write_examples(out / "tools" / "examples" / "intent.jsonl", services)


def labelled(name: str) -> Source:
    """Return the texts of ``examples/NAME.zh.tsv`` and ``NAME.en.tsv``, each with its label as its source."""
    items = []
    for file in sorted(EXAMPLES.glob(f"{name}.*.tsv"), reverse=True):
        for line in file.read_text(encoding="utf-8").splitlines():
            label, text = line.split("\t")
            items.append(Item(text, label))
    return Source(name, 0.0, items)


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
