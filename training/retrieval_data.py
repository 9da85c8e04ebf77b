"""What the embedder learns from, and what is held out to measure it.

Held out: all of ``zh_kdconv_travel_*`` and of ``zh_xquad``, every second paragraph of ``en_xquad``, and 2,000 positive
pairs of ``zh_atec_pairs`` together with every other pair that shares a text with them.
"""

import gzip
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]

_END_OF_SENTENCE = re.compile(r"(?<=[。！？；])|(?<=[.!?]) ")
_TEXTS = (
    "intent/en_banking77", "intent/en_clinc150", "intent/en_snips", "intent/zh_smp2017", "sentiment/en_sst2",
    "sentiment/zh_eprstmt", "sentiment/zh_finance_seed", "sentiment/zh_products4", "sentiment/zh_shopping",
    "sentiment/zh_weibo_ewect", "summary/zh_csl", "retrieval/zh_qbqtc",
)  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """Two texts that mean or concern the same."""

    left: str
    right: str
    group: str
    """Pairs of one group are not negatives of each other."""


@dataclass(frozen=True)
class SearchTask:
    """Questions, passages, and for each question which passages answer it."""

    name: str
    questions: list[str]
    passages: list[str]
    answers: list[set[int]]


@dataclass(frozen=True)
class RetrievalData:
    """Everything, already split."""

    pairs: dict[str, list[Pair]]
    texts: list[str]
    held_out: list[SearchTask]


def load(folder: Path, seed: int) -> RetrievalData:
    """Read the data folder and split it."""
    rng = random.Random(seed)
    files = {str(path.relative_to(folder))[: -len(".jsonl.gz")]: path for path in sorted(folder.rglob("*.jsonl.gz"))}
    rows = {name.replace("\\", "/"): list(_rows(path)) for name, path in files.items()}
    en_xquad = rows["retrieval/en_xquad"]
    kept_back = set(_unique(row["context"] for row in en_xquad)[1::2])
    atec, atec_held_out = _split_atec(rows["retrieval/zh_atec_pairs"], rng)
    en_train = [row for row in en_xquad if row["context"] not in kept_back]
    talks = [row for row in rows["chat/zh_kdconv"] if row["topic"] != "travel"]
    return RetrievalData(
        pairs=_pairs(rows, atec, en_train, talks, rng),
        texts=list(_texts(rows, atec, en_train, talks)),
        held_out=[
            _kdconv(rows),
            _xquad("xquad zh", rows["retrieval/zh_xquad"]),
            _xquad("xquad en", [row for row in en_xquad if row["context"] in kept_back]),
            atec_held_out,
        ],
    )


def _pairs(rows: dict[str, Rows], atec: Rows, en_train: Rows, talks: Rows, rng: random.Random) -> dict[str, list[Pair]]:
    cmrc = rows["retrieval/zh_cmrc2018"]
    same = [row for row in atec if row["label"] == "1"]
    return {
        "atec": [Pair(row["text"], row["text2"], row["text2"]) for row in same],
        "bustm": [
            Pair(row["text"], row["text2"], row["text2"])
            for row in rows["retrieval/zh_bustm_pairs"]
            if row["label"] == "1"
        ],
        "qbqtc": [Pair(r["text"], r["title"], r["title"]) for r in rows["retrieval/zh_qbqtc"] if r["label"] != "0"],
        "cmrc": _questions(cmrc),
        "cmrc sentences": _neighbours(_unique(row["context"] for row in cmrc), rng, 4),
        "xquad en": _questions(en_train),
        "xquad en sentences": _neighbours(_unique(row["context"] for row in en_train), rng, 4),
        "cmrc spans": _spans(_unique(row["context"] for row in cmrc), rng, 6),
        "xquad en spans": _spans(_unique(row["context"] for row in en_train), rng, 6),
        "csl spans": _spans([row["text"] for row in rows["summary/zh_csl"]], rng, 1),
        "shopping spans": _spans(
            [row["text"] for row in rows["sentiment/zh_shopping"] if len(row["text"]) > 80], rng, 1
        ),
        "csl": [Pair(row["text"], row["summary"], row["summary"]) for row in rows["summary/zh_csl"]],
        "talks": _turns(talks + rows["chat/zh_chatterbot"]),
        "talks en": _turns(rows["chat/en_chatterbot"]),
        "clinc": _same_label(rows["intent/en_clinc150"], rng, 60),
        "banking": _same_label(rows["intent/en_banking77"], rng, 60),
        "snips": _same_label(rows["intent/en_snips"], rng, 300),
    }


def _texts(rows: dict[str, Rows], atec: Rows, en_train: Rows, talks: Rows) -> Iterator[str]:
    for row in [*talks, *(row for name in rows for row in rows[name] if name in _CHATS)]:
        yield "\n".join(row["dialogue"])
    for name in _TEXTS:
        for row in rows[name]:
            yield "\n".join(row[key] for key in ("text", "summary", "title") if row.get(key))
    for row in atec:
        yield from (row["text"], row["text2"])
    for part in (rows["retrieval/zh_cmrc2018"], en_train, en_train):  # there is little English prose
        yield from _unique(row["context"] for row in part)
        yield from (row["question"] for row in part)


_CHATS = ("chat/zh_crosswoz", "chat/zh_chatterbot", "chat/en_chatterbot")


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _sentences(text: str) -> list[str]:
    return [part.strip() for part in _END_OF_SENTENCE.split(text) if len(part.strip()) > 5]


def _questions(rows: Rows) -> list[Pair]:
    """A question with its paragraph, and with the sentence that holds the answer."""
    pairs = [Pair(row["question"], row["context"], row["context"]) for row in rows]
    for row in rows:
        holding = (part for part in _sentences(row["context"]) if any(answer in part for answer in row["answers"]))
        pairs += [Pair(row["question"], part, part) for part in list(holding)[:1]]
    return pairs


def _neighbours(texts: list[str], rng: random.Random, count: int) -> list[Pair]:
    """Two sentences of one text, drawn ``count`` times."""
    parts = [(text, _sentences(text)) for text in texts]
    return [_drawn(some, text, rng) for text, some in parts if len(some) > 1 for _ in range(count)]


def _spans(texts: list[str], rng: random.Random, count: int) -> list[Pair]:
    """A few neighbouring characters or words of a text and the text, drawn ``count`` times: the same words count."""
    pairs = []
    for text in texts:
        words = text.split() if _spaced(text) else list(text)
        for _ in range(count):
            length = rng.randint(1, 4) if _spaced(text) else rng.randint(3, 10)
            start = rng.randrange(max(1, len(words) - length))
            span = (" " if _spaced(text) else "").join(words[start : start + length])
            pairs.append(Pair(span, text, text))
    return pairs


def _drawn(texts: list[str], group: str, rng: random.Random) -> Pair:
    left, right = rng.sample(texts, 2)
    return Pair(left, right, group)


def _turns(rows: Rows) -> list[Pair]:
    return [Pair(a, b, b) for row in rows for a, b in zip(row["dialogue"], row["dialogue"][1:], strict=False)]


def _same_label(rows: Rows, rng: random.Random, count: int) -> list[Pair]:
    texts: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        texts[row["label"]].append(row["text"])
    texts.pop("oos", None)
    return [_drawn(some, label, rng) for label, some in texts.items() for _ in range(min(count, len(some) // 2))]


def _split_atec(rows: Rows, rng: random.Random) -> tuple[Rows, SearchTask]:
    same = [row for row in rows if row["label"] == "1"]
    held_out = rng.sample(same, 2000)
    texts = {text for row in held_out for text in (row["text"], row["text2"])}
    train = [row for row in rows if row["text"] not in texts and row["text2"] not in texts]
    passages = _unique(row["text2"] for row in held_out)
    answers: dict[str, set[int]] = defaultdict(set)
    for row in held_out:
        answers[row["text"]].add(passages.index(row["text2"]))
    return train, SearchTask("atec pairs", list(answers), passages, list(answers.values()))


def _kdconv(rows: dict[str, Rows]) -> SearchTask:
    passages = rows["retrieval/zh_kdconv_travel_passages"]
    questions = rows["retrieval/zh_kdconv_travel_dev"]
    answers = [
        {index for index, passage in enumerate(passages) if passage["title"] in row["gold_titles"]} for row in questions
    ]
    return SearchTask(
        "kdconv travel", [row["question"] for row in questions], [passage["text"] for passage in passages], answers
    )


def _xquad(name: str, rows: Rows) -> SearchTask:
    passages = _unique(row["context"] for row in rows)
    return SearchTask(
        name, [row["question"] for row in rows], passages, [{passages.index(row["context"])} for row in rows]
    )


def _spaced(text: str) -> bool:
    """Whether words are separated by spaces."""
    return text.count(" ") * 10 > len(text)
