"""Labelled texts: the data sets of the folder given by ``--data``, and the examples written for the project."""

import csv
import gzip
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from qwen_allinone.model.language import Language, language_of
from qwen_allinone.tools.sentences import split_sentences

Mood = Literal["positive", "negative", "neutral"]

EXAMPLES = Path(__file__).parent / "examples"
_INTENTS: dict[str, list[str]] = yaml.safe_load((Path(__file__).parent / "intents.yaml").read_text(encoding="utf-8"))
_DEFAULT_INTENTS = tuple(_INTENTS)
_GRADES: dict[str, tuple[Mood, int]] = {
    "++": ("positive", 2),
    "+": ("positive", 1),
    "0": ("neutral", 0),
    "-": ("negative", 1),
    "--": ("negative", 2),
}
_REPLY_MOODS: dict[str, Mood] = {
    **dict.fromkeys(("sad", "angry", "anxious", "tired", "complaint"), "negative"),
    **dict.fromkeys(("happy", "grateful"), "positive"),
}
_NOT_CHAT = {"request", "opinion", "complaint"}


@dataclass(frozen=True)
class Item:
    """One text and everything that is known about it; what is not known is None and never asked."""

    text: str
    source: str
    routes: tuple[str, ...] = ()
    mood: Mood | None = None
    grade: int | None = None
    """0: no feeling, 1: some, 2: strong."""
    intent: str | None = None
    intents: Sequence[str] = ()
    """The labels of the intent's data set, to draw other candidates from."""
    default_intent: int | None = None
    """Index among the toolkit's default candidates."""
    sentences: Sequence[tuple[str, bool]] = ()
    """Sentences, and whether each carries the gist of the text or, where the text is a question, answers it."""
    spans: Sequence[tuple[str, bool]] = ()
    """Spans, and whether each is a keyword of the text."""
    reply: str | None = None
    memory: str = ""

    @property
    def language(self) -> Language:
        """Of the text."""
        return language_of(self.text)


@dataclass(frozen=True)
class Source:
    """Items of one origin and how large their share of the training is."""

    name: str
    share: float
    items: Sequence[Item]


def written() -> list[Source]:
    """The examples that were written for this project."""
    inputs = [item for path in sorted(EXAMPLES.glob("inputs*.tsv")) for item in _inputs(path)]
    opinions = [item for path in sorted(EXAMPLES.glob("opinions*.tsv")) for item in _opinions(path)]
    replies = [item for path in sorted(EXAMPLES.glob("replies*.tsv")) for item in _replies(path)]
    return [Source("inputs", 0.34, inputs), Source("opinions", 0.16, opinions), Source("replies", 0.14, replies)]


def shared(data: Path) -> list[Source]:
    """The data sets of a folder; those that are not there are left out."""
    plan: list[tuple[str, float, str, Callable[[list[dict[str, Any]]], Iterator[Item]]]] = [
        ("shopping", 0.10, "sentiment/zh_shopping", _reviews),
        ("eprstmt", 0.01, "sentiment/zh_eprstmt", _reviews),
        ("products", 0.03, "sentiment/zh_products4", _reviews),
        ("sst2", 0.11, "sentiment/en_sst2", _reviews),
        ("weibo", 0.04, "sentiment/zh_weibo_ewect", _posts),
        ("clinc", 0.02, "intent/en_clinc150", _intents),
        ("banking", 0.01, "intent/en_banking77", _intents),
        ("snips", 0.02, "intent/en_snips", _commands),
        ("smp", 0.02, "intent/zh_smp2017", _intents),
        ("dialogues", 0.01, "chat/zh_kdconv", _openings),
        ("abstracts", 0.02, "summary/zh_csl", _abstracts),
        ("reading_zh", 0.02, "retrieval/zh_cmrc2018", _readings),
        ("reading_en", 0.02, "retrieval/en_xquad", _readings),
    ]
    sources = []
    for name, share, file, reader in plan:
        path = data / f"{file}.jsonl.gz"
        if path.is_file():
            rows = _without_test_rows(_rows(path))
            sources.append(Source(name, share, [replace(item, source=name) for item in reader(rows)]))
    return sources


def texts_of(sources: Sequence[Source]) -> Iterator[str]:
    """Every text, sentence and reply, for the tokenizer and the embeddings."""
    for source in sources:
        for item in source.items:
            yield item.text
            if item.reply:
                yield f"{item.memory} {item.reply}"
            yield from (sentence for sentence, _ in item.sentences)


def _inputs(path: Path) -> Iterator[Item]:
    for routes, grade, text in _tsv(path, 3):
        mood, strength = _GRADES[grade]
        yield Item(text, "inputs", routes=tuple(routes.split("+")), mood=mood, grade=strength)


def _opinions(path: Path) -> Iterator[Item]:
    for grade, text in _tsv(path, 2):
        mood, strength = _GRADES[grade]
        yield Item(text, "opinions", mood=mood, grade=strength)


def _replies(path: Path) -> Iterator[Item]:
    for kind, memory, text, reply in _tsv(path, 4):
        routes = () if kind in _NOT_CHAT else ("chat",)
        yield Item(text, "replies", routes=routes, mood=_REPLY_MOODS.get(kind), reply=reply, memory=memory)


def _reviews(rows: list[dict[str, Any]]) -> Iterator[Item]:
    for row in rows:
        yield Item(_natural(row["text"]), "", routes=("sentiment",), mood=row["label"])


def _posts(rows: list[dict[str, Any]]) -> Iterator[Item]:
    for row in rows:
        yield Item(row["text"], "", mood=row["label"])


def _intents(rows: list[dict[str, Any]]) -> Iterator[Item]:
    labels = sorted({row["label"] for row in rows})
    for row in rows:
        routes = ("chat",) if row["label"] == "chat" else ()
        yield _intent(row, labels, routes)


def _commands(rows: list[dict[str, Any]]) -> Iterator[Item]:
    labels = sorted({row["label"] for row in rows})
    for row in rows:
        yield _intent(row, labels, () if "?" in row["text"] else ("intent",))


def _intent(row: dict[str, Any], labels: Sequence[str], routes: tuple[str, ...]) -> Item:
    return Item(
        row["text"],
        "",
        routes=routes,
        intent=_spoken(row["label"]),
        intents=[_spoken(label) for label in labels],
        default_intent=_default_intent(row["label"]),
    )


@cache
def _default_intent(label: str) -> int | None:
    return next((index for index, name in enumerate(_DEFAULT_INTENTS) if label in _INTENTS[name]), None)


def _spoken(label: str) -> str:
    """``card_arrival`` and ``PlayMusic`` as words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", label).lower()


def _openings(rows: list[dict[str, Any]]) -> Iterator[Item]:
    for row in rows:
        yield Item(row["dialogue"][0], "", routes=("chat",))


def _abstracts(rows: list[dict[str, Any]]) -> Iterator[Item]:
    for row in rows[:4000]:
        text, title = row["text"], row["summary"]
        sentences = split_sentences(text)
        if not 2 <= len(sentences) <= 8 or len(text) > 300:
            continue
        shared = [_bigram_share(title, sentence) for sentence in sentences]
        best = max(shared)
        marked = [(sentence, share == best) for sentence, share in zip(sentences, shared, strict=True)]
        yield Item(text, "", routes=("summary",), sentences=marked, spans=_spans(text, title))


def _spans(text: str, title: str) -> list[tuple[str, bool]]:
    import rjieba

    words = {word for word in rjieba.cut(text) if len(word) > 1}
    return [(word, word in title) for word in sorted(words)]


def _readings(rows: list[dict[str, Any]]) -> Iterator[Item]:
    contexts = {row["context"] for row in rows}
    for context in sorted(contexts):
        sentences = split_sentences(context)
        yield Item("".join(sentences[: 2 + len(context) % 3]), "", routes=("summary",))
    for row in rows:
        sentences = split_sentences(row["context"])
        answer = row["answers"][0]
        marked = [(sentence, answer in sentence) for sentence in sentences]
        if sum(hit for _, hit in marked) == 1:
            yield Item(row["question"], "", routes=("chat",), mood="neutral", grade=0, sentences=marked)


def _bigram_share(title: str, sentence: str) -> float:
    pairs = {title[index : index + 2] for index in range(len(title) - 1)}
    return sum(pair in sentence for pair in pairs) / max(1, len(pairs))


def _natural(text: str) -> str:
    """Undo the tokenisation of a corpus: ``it 's fine , really .`` becomes plain text again."""
    text = re.sub(r"\s+('(?:s|t|re|ve|ll|d|m)\b|n't\b)", r"\1", text)
    return re.sub(r"\s+([,.!?;:])", r"\1", text)


def _without_test_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave the test split out, unless the set is nothing else."""
    return [row for row in rows if row.get("split") != "test"] or rows


def _rows(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _tsv(path: Path, fields: int) -> Iterator[list[str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
            if len(row) != fields:
                raise ValueError(f"{path.name}: {len(row)} fields instead of {fields}: {row}")
            yield [cell.replace("\\n", "\n") for cell in row]


def hold_out(sources: Sequence[Source], share: float) -> tuple[list[Source], list[Item]]:
    """Take a share of each written source out, chosen by a hash of the text, for validation during training."""
    kept, held = [], []
    for source in sources:
        out = {item.text for item in source.items if random.Random(item.text).random() < share}
        kept.append(replace(source, items=[item for item in source.items if item.text not in out]))
        held += [item for item in source.items if item.text in out]
    return kept, held
