"""Texts that were written for this project: tab-separated files in ``examples/``."""

import csv
import random
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from training.sources import Item, Mood, Source

EXAMPLES = Path(__file__).parent / "examples"
GRADES: dict[str, tuple[Mood, int]] = {
    "++": ("positive", 2),
    "+": ("positive", 1),
    "0": ("neutral", 0),
    "-": ("negative", 1),
    "--": ("negative", 2),
}
"""Grade in a file to the mood and its strength."""
REPLY_MOODS: dict[str, Mood] = {
    **dict.fromkeys(("sad", "angry", "anxious", "tired", "complaint"), "negative"),
    **dict.fromkeys(("happy", "grateful"), "positive"),
}
"""Kind of exchange to the mood that it shows."""
_NOT_CHAT = {"request", "opinion", *REPLY_MOODS}
_OR = " | "


def written() -> list[Source]:
    """Return a source for each kind of file."""
    shares = (
        ("inputs", 0.24, _inputs),
        ("opinions", 0.3, _opinions),
        ("intents", 0.13, _intents),
        ("questions", 0.14, _questions),
        ("replies", 0.3, _replies),
    )
    sources = []
    for name, share, reader in shares:
        files = sorted(EXAMPLES.glob(f"{name}*.tsv"))
        sources.append(Source(name, share, list(chain.from_iterable(map(reader, files)))))
    return sources


def _inputs(path: Path) -> Iterator[Item]:
    for routes, grade, text in _rows(path, 3):
        mood, strength = GRADES[grade]
        yield Item(text, "inputs", routes=tuple(routes.split("+")), mood=mood, grade=strength)


def _opinions(path: Path) -> Iterator[Item]:
    for grade, text in _rows(path, 2):
        mood, strength = GRADES[grade]
        yield Item(text, "opinions", mood=mood, grade=strength)


def _intents(path: Path) -> Iterator[Item]:
    """Yield every text under each name of its label, beside candidates of its domain and of any other."""
    rows = list(_rows(path, 3))
    domains: dict[str, list[str]] = {}
    for domain, names, _ in rows:
        domains.setdefault(domain, []).append(names.split(_OR)[0])
    everywhere = list(chain.from_iterable(domains.values()))
    meanings = dict(chain.from_iterable(_neighbours(names.split(_OR)) for _, names, _ in rows))
    for index, (domain, names, texts) in enumerate(rows):
        own = names.split(_OR)
        others = [label for label in domains[domain] if label not in own]
        elsewhere = random.Random(index).sample(everywhere, len(others) + len(own))
        others += [label for label in elsewhere if label not in (*own, *others)][: len(others)]
        for name in own:
            known = {label: meanings[label] for label in (name, *others) if label in meanings}
            for text in texts.split(_OR):
                yield Item(text, "intents", intent=name, intents=others, meanings=known)


def _neighbours(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return each name of a label with another one, where there is one."""
    return [(name, other) for name, other in zip(names, [*names[1:], names[0]], strict=True) if name != other]


def _questions(path: Path) -> Iterator[Item]:
    for question, wordings, answer, text in _rows(path, 4):
        asked = [question, *(wording for wording in wordings.split(_OR) if wording)]
        yield Item(text, "questions", questions=[(wording, answer == "yes") for wording in asked])


def routes_of_kind(kind: str) -> tuple[str, ...]:
    """Return chat for an exchange that begins with talk; nothing for a request, a judgement or a feeling."""
    return () if kind in _NOT_CHAT else ("chat",)


def _replies(path: Path) -> Iterator[Item]:
    for kind, memory, texts, reply in _rows(path, 4):
        for text in texts.split(_OR):
            mood = REPLY_MOODS.get(kind)
            yield Item(text, "replies", routes=routes_of_kind(kind), mood=mood, reply=reply, memory=memory)


def _rows(path: Path, fields: int) -> Iterator[list[str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
            if len(row) != fields:
                raise ValueError(f"{path.name}: {len(row)} fields instead of {fields}: {row}")
            yield [cell.replace("\\n", "\n") for cell in row]
