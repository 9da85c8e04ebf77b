"""Pairs of texts that belong together, made from the rows of public data sets."""

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Rows = list[dict[str, Any]]

_END_OF_SENTENCE = re.compile(r"(?<=[。！？；])|(?<=[.!?]) ")
_ASKED_ZH = (
    "{}在哪里？", "你知道{}吗？", "{}的电话是多少？", "请介绍一下{}。", "{}是什么时候的事？", "听说过{}没有？",
    "{}怎么样？", "关于{}有什么可说的？", "{}要多少钱？", "谁跟{}有关？", "为什么说{}？", "你好，能帮我查一下{}吗？",
    "{}有哪些？", "{}开到几点？", "那{}呢，你了解吗？", "{}叫什么名字？",
)  # fmt: skip
_ASKED_EN = (
    "Where is {}?", "What do you know about {}?", "Who is behind {}?", "When did {} happen?", "Why is it that {}?",
    "How many {} are there?", "Tell me about {}.", "What is {} called?",
)  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """Two texts of one meaning or subject."""

    left: str
    right: str
    group: str
    """Pairs of one group are not negatives of each other."""


def same_meaning(rows: Rows) -> list[Pair]:
    """Return the positive ones of labelled pairs."""
    return [Pair(row["text"], row["text2"], row["text2"]) for row in rows if row["label"] == "1"]


def questions(rows: Rows) -> list[Pair]:
    """Pair a question with its paragraph, and with the sentence that holds the answer."""
    pairs = [Pair(row["question"], row["context"], row["context"]) for row in rows]
    for row in rows:
        if part := next((part for part in _sentences(row["context"]) if _holds(part, row["answers"])), None):
            pairs.append(Pair(row["question"], part, part))
    return pairs


def translations(left: Rows, right: Rows) -> list[Pair]:
    """Pair parallel rows crosswise: question to question, question to paragraph, and paragraph to paragraph."""
    pairs = []
    for one, other in zip(left, right, strict=True):
        pairs += [
            Pair(one["question"], other["question"], one["context"]),
            Pair(one["question"], other["context"], one["context"]),
            Pair(one["context"], other["question"], one["context"]),
            Pair(one["context"], other["context"], one["context"]),
        ]
    return pairs


def neighbours(texts: Iterable[str], rng: random.Random, count: int) -> list[Pair]:
    """Draw two sentences of one text, ``count`` times."""
    pairs: list[Pair] = []
    for text in texts:
        parts = _sentences(text)
        if len(parts) > 1:
            pairs += [_drawn(parts, text, rng) for _ in range(count)]
    return pairs


def spans(texts: Iterable[str], rng: random.Random, count: int) -> list[Pair]:
    """Pair a text with a few neighbouring characters or words of it, ``count`` times: the same words count.

    Every other span is put into a question, and every third is the beginning of the text, where names stand.
    """
    pairs = []
    for text in texts:
        spaced = _spaced(text)
        words = text.split() if spaced else list(text)
        for _ in range(count):
            length = rng.randint(1, 4) if spaced else rng.randint(2, 10)
            start = 0 if rng.random() < 1 / 3 else rng.randrange(max(1, len(words) - length))
            span = (" " if spaced else "").join(words[start : start + length])
            if rng.random() < 0.5:
                span = rng.choice(_ASKED_EN if spaced else _ASKED_ZH).format(span)
            pairs.append(Pair(span, text, text))
    return pairs


def turns(rows: Rows) -> list[Pair]:
    """Pair every turn of a talk with the next one."""
    pairs: list[Pair] = []
    for row in rows:
        pairs += [Pair(turn, answer, answer) for turn, answer in pairwise(row["dialogue"])]
    return pairs


def talks(rows: Rows, rng: random.Random, count: int) -> list[Pair]:
    """Pair one turn of a talk with all others of the talk, ``count`` times."""
    pairs = []
    for row in rows:
        said = row["dialogue"]
        for place in rng.sample(range(len(said)), min(count, len(said))):
            pairs.append(Pair(said[place], "\n".join(said[:place] + said[place + 1 :]), said[0]))
    return pairs


def same_label(rows: Rows, rng: random.Random, count: int) -> list[Pair]:
    """Draw two texts of one label, at most ``count`` times a label."""
    texts: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        texts[row["label"]].append(row["text"])
    texts.pop("oos", None)
    pairs: list[Pair] = []
    for label, some in texts.items():
        pairs += [_drawn(some, label, rng) for _ in range(min(count, len(some) // 2))]
    return pairs


def _holds(sentence: str, answers: Sequence[str]) -> bool:
    return any(answer in sentence for answer in answers)


def _sentences(text: str) -> list[str]:
    return [part.strip() for part in _END_OF_SENTENCE.split(text) if len(part.strip()) > 5]


def _drawn(texts: Sequence[str], group: str, rng: random.Random) -> Pair:
    left, right = rng.sample(texts, 2)
    return Pair(left, right, group)


def _spaced(text: str) -> bool:
    """Return true if words are separated by spaces."""
    return text.count(" ") * 10 > len(text)
