"""Texts drawn from grammars: word lists and templates in ``grammar/``.

Opinions, so that no common word of praise or blame is missing and negation, contrast and irony occur with all of them;
and exchanges whose reply takes up a word of the text or of a memory, so that a small model learns to take it up.
"""

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from training.sources import Item, Source
from training.written import GRADES, REPLY_MOODS, routes_of_kind

GRAMMARS = Path(__file__).parent / "grammar"
_ITEMS = 20_000
_REMEMBERED = 0.45
"""Share of the exchanges that need a memory: a small model learns to copy from one last."""
_SLOT = re.compile(r"\{(\w+)\}")


def drawn(*, seed: int) -> list[Source]:
    """Draw one source from each grammar."""
    sources = []
    for kind, share, draw in (("opinions", 0.08, _opinions), ("dialogue", 0.06, _exchanges)):
        for path in sorted(GRAMMARS.glob(f"{kind}.*.yaml")):
            items = draw(_read(path), random.Random(f"{seed} {path.name}"))
            sources.append(Source(path.stem, share, _distinct(items)))
    return sources


def _distinct(items: Iterable[Item]) -> list[Item]:
    return list({(item.memory, item.text, item.reply): item for item in items}.values())


def _read(path: Path) -> dict[str, Any]:
    grammar: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return grammar


def _opinions(grammar: Mapping[str, Any], rng: random.Random) -> Iterator[Item]:
    for _ in range(_ITEMS):
        grade = rng.choice(sorted(grammar["templates"]))
        text = _capital(fill(rng.choice(grammar["templates"][grade]), grammar["lists"], rng), rng)
        mood, strength = GRADES[grade]
        yield Item(text, "grammar", mood=mood, grade=strength)


def _exchanges(grammar: Mapping[str, Any], rng: random.Random) -> Iterator[Item]:
    remembering = [pair for pair in grammar["pairs"] if pair["memory"]]
    others = [pair for pair in grammar["pairs"] if not pair["memory"]]
    for _ in range(_ITEMS):
        pair = rng.choice(rng.choices((remembering, others), (_REMEMBERED, 1 - _REMEMBERED))[0])
        words: dict[str, str] = {}
        templates = (pair["memory"] or "", rng.choice(pair["texts"]), rng.choice(pair["replies"]))
        memory, text, reply = (fill(template, grammar["lists"], rng, words) for template in templates)
        kind = pair["kind"]
        yield Item(
            _capital(text, rng),
            "dialogue",
            routes=routes_of_kind(kind),
            mood=REPLY_MOODS.get(kind),
            reply=reply[:1].upper() + reply[1:],
            memory=memory,
        )


def fill(
    template: str, lists: Mapping[str, Sequence[str]], rng: random.Random, words: dict[str, str] | None = None
) -> str:
    """Put a word of its list into every slot; words may have slots themselves.

    Args:
        template: text with slots such as ``{food}``.
        lists: the words of each slot.
        rng: draws them.
        words: what stands for a slot already, filled in as slots are met; None draws every slot anew.

    Raises:
        KeyError: a slot names no list.
    """

    def word(slot: re.Match[str]) -> str:
        name = slot[1]
        if words is None:
            return str(rng.choice(lists[name]))
        if name not in words:
            words[name] = str(rng.choice(lists[name]))
        return words[name]

    while _SLOT.search(template):
        template = _SLOT.sub(word, template)
    return template


def _capital(text: str, rng: random.Random) -> str:
    return text[:1].upper() + text[1:] if rng.random() < 0.8 else text
