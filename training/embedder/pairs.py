"""Pairs of texts that belong together, made from the rows of public data sets."""

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
    """Two texts that mean or concern the same."""

    left: str
    right: str
    group: str
    """Pairs of one group are not negatives of each other."""


def same_meaning(rows: Rows) -> list[Pair]:
    """The positive ones of labelled pairs."""
    return [Pair(row["text"], row["text2"], row["text2"]) for row in rows if row["label"] == "1"]


def questions(rows: Rows) -> list[Pair]:
    """A question with its paragraph, and with the sentence that holds the answer."""
    pairs = [Pair(row["question"], row["context"], row["context"]) for row in rows]
    for row in rows:
        holding = (part for part in _sentences(row["context"]) if any(answer in part for answer in row["answers"]))
        pairs += [Pair(row["question"], part, part) for part in list(holding)[:1]]
    return pairs


def translations(left: Rows, right: Rows) -> list[Pair]:
    """Parallel rows crosswise: question to question, question to paragraph, and paragraph to paragraph."""
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
    """Two sentences of one text, drawn ``count`` times."""
    parts = [(text, _sentences(text)) for text in texts]
    return [_drawn(some, text, rng) for text, some in parts if len(some) > 1 for _ in range(count)]


def spans(texts: Iterable[str], rng: random.Random, count: int) -> list[Pair]:
    """A few neighbouring characters or words of a text and the text, drawn ``count`` times: the same words count.

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
    """What is said and what is said to it."""
    return [Pair(a, b, b) for row in rows for a, b in zip(row["dialogue"], row["dialogue"][1:], strict=False)]


def talks(rows: Rows, rng: random.Random, count: int) -> list[Pair]:
    """One turn of a talk with all others of the talk, drawn ``count`` times."""
    pairs = []
    for row in rows:
        said = row["dialogue"]
        for place in rng.sample(range(len(said)), min(count, len(said))):
            pairs.append(Pair(said[place], "\n".join(said[:place] + said[place + 1 :]), said[0]))
    return pairs


def same_label(rows: Rows, rng: random.Random, count: int) -> list[Pair]:
    """Two texts of one label, at most ``count`` times a label."""
    texts: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        texts[row["label"]].append(row["text"])
    texts.pop("oos", None)
    return [_drawn(some, label, rng) for label, some in texts.items() for _ in range(min(count, len(some) // 2))]


def _sentences(text: str) -> list[str]:
    return [part.strip() for part in _END_OF_SENTENCE.split(text) if len(part.strip()) > 5]


def _drawn(texts: Sequence[str], group: str, rng: random.Random) -> Pair:
    left, right = rng.sample(texts, 2)
    return Pair(left, right, group)


def _spaced(text: str) -> bool:
    """Whether words are separated by spaces."""
    return text.count(" ") * 10 > len(text)
