"""Readers of the public data sets in the folder given by ``--data``.

Some categories, labels and whole sets are left out of all training (``HELD_OUT``), to see how the model does on domains
that it never read.
"""

import gzip
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from qwen_allinone.model.language import language_of
from qwen_allinone.tools.sentences import split_sentences
from training.sources import Item, Source

_INTENTS: dict[str, list[str]] = yaml.safe_load((Path(__file__).parent / "intents.yaml").read_text(encoding="utf-8"))
_DEFAULT_INTENTS = tuple(_INTENTS)
_SLICES = 100
_QUERY = re.compile(
    r"(?:at|in|for|from|on|with)?\s*(?:what|whats|how|who|whos|whose|which|why|when|where|wheres|is|are|am|was|were|do|does|"
    r"did|has|have|will|would it|should|tell me)\b",
    re.IGNORECASE,
)
_COMMAND = re.compile(
    "请|帮|给|替|我要|我想|把|打开|关|播放|放|来|点|查|搜|找|发|设|调|拨|呼叫|打电话|订|买|预订|新建|添加|删|回复|翻译|导航|提醒"
)
"""Beginnings of an English question and of a Chinese request."""
_OUT_OF_SCOPE = "oos"
"""Label of CLINC150 for the lack of an intent."""
VALIDATION_SHARE = 0.02
"""Share of the rows that is taken out for validation during training."""

HELD_OUT: dict[str, tuple[str, frozenset[str]]] = {
    "sentiment/zh_shopping": ("cat", frozenset({"蒙牛", "热水器", "书籍"})),
    "sentiment/zh_products4": ("cat", frozenset({"notebook"})),
    "sentiment/en_sst2": ("split", frozenset({"dev"})),
    "intent/en_clinc150": (
        "label",
        frozenset(
            {"alarm", "book_hotel", "calories", "change_language", "damaged_card", "directions", "exchange_rate"}
            | {"insurance", "lost_luggage", "oil_change_when", "play_music", "recipe", "report_fraud", "roll_dice"}
            | {"schedule_meeting", "shopping_list", "spelling", "taxes", "tire_pressure", "vaccines", _OUT_OF_SCOPE}
        ),
    ),
    "intent/en_snips": ("label", frozenset({"AddToPlaylist"})),
    "intent/zh_smp2017": ("label", frozenset({"weather", "train", "message", "music", "health", "translation"})),
}
"""File to the column and the values of it that are never trained on. Never read at all: ``zh_eprstmt``,
``en_banking77``, ``zh_chatterbot``, ``zh_csl_title_dev``, ``zh_xquad`` and ``zh_bustm_pairs``."""
_UNWATCHED = frozenset({"书籍"})
"""Values that no training checks on its way either, so that they cannot guide the recipe."""

SMP_WORDS = {
    "weather": "天气", "train": "火车", "message": "短信", "music": "音乐", "health": "健康", "translation": "翻译"
}  # fmt: skip
"""The held-out labels of ``zh_smp2017`` as a Chinese user would write them."""


def held_out_labels() -> set[str]:
    """Return every intent label that is held out, as words."""
    held_out = set(SMP_WORDS.values())
    for file, (_, values) in HELD_OUT.items():
        if file.startswith("intent/"):
            held_out |= set(map(spoken, values))
    return held_out


def public(data: Path) -> list[Source]:
    """Read the data sets that a folder has, without what is held out."""
    return _read(data, held_out=False)


def unseen(data: Path) -> list[Item]:
    """Read what is held out and may guide the recipe: moods of its categories, and its labels among each other."""
    found = []
    for source in _read(data, held_out=True):
        kept = [item for item in source.items if item.mood is not None or len(item.intents) > 1]
        found += [replace(item, source=f"{source.name} unseen") for item in kept]
    return found


def _read(data: Path, *, held_out: bool) -> list[Source]:
    sources = []
    for name, share, file, reader in _plan():
        path = data / f"{file}.jsonl.gz"
        if path.is_file():
            column, values = HELD_OUT.get(file, ("", frozenset()))
            left = values - _UNWATCHED if held_out else values
            rows = [row for row in _without_test_rows(rows_of(path)) if (row.get(column) in left) is held_out]
            rows = [row for row in rows if row.get("label") != _OUT_OF_SCOPE]
            sources.append(Source(name, share, [replace(item, source=name) for item in reader(rows)]))
    return sources


def _plan() -> list[tuple[str, float, str, Callable[[list[dict[str, Any]]], Iterator[Item]]]]:
    """Return name, share of the training, file and reader of each set."""
    return [
        ("shopping", 0.18, "sentiment/zh_shopping", _reviews),
        ("products", 0.05, "sentiment/zh_products4", _reviews),
        ("finance", 0.01, "sentiment/zh_finance_seed", _posts),
        ("sst2", 0.15, "sentiment/en_sst2", _reviews),
        ("weibo", 0.03, "sentiment/zh_weibo_ewect", _posts),
        ("clinc", 0.04, "intent/en_clinc150", _intents),
        ("snips", 0.01, "intent/en_snips", _commands),
        ("smp", 0.02, "intent/zh_smp2017", _requests),
        ("queries", 0.06, "retrieval/zh_qbqtc", _queries),
        ("dialogues", 0.01, "chat/zh_kdconv", _openings),
        ("abstracts", 0.05, "summary/zh_csl", _abstracts),
        ("reading_zh", 0.03, "retrieval/zh_cmrc2018", _readings),
        ("reading_en", 0.03, "retrieval/en_xquad", _readings),
    ]


def _reviews(rows: list[dict[str, Any]]) -> Iterator[Item]:
    for row in rows:
        yield Item(natural(row["text"]), "", routes=("sentiment",), mood=row["label"])


def _posts(rows: list[dict[str, Any]]) -> Iterator[Item]:
    for row in rows:
        yield Item(row["text"], "", mood=row["label"])


def _intents(rows: list[dict[str, Any]]) -> Iterator[Item]:
    labels = sorted({row["label"] for row in rows})
    for row in rows:
        yield _intent(row, labels, _routes(row))


def _routes(row: dict[str, Any]) -> tuple[str, ...]:
    """Return the route of talk, or of a request that is put as one; none of a question, which may be either."""
    if row["label"] == "chat":
        return ("chat",)
    english = language_of(row["text"]) == "en"
    asked = not _QUERY.match(row["text"]) if english else _COMMAND.match(row["text"])
    return ("intent",) if asked and _default_intent(row["label"]) is not None else ()


def _requests(rows: list[dict[str, Any]]) -> Iterator[Item]:
    for item in _intents(rows):
        words = [SMP_WORDS.get(label, label) for label in item.intents]
        yield replace(item, intent=SMP_WORDS.get(item.intent or "", item.intent), intents=words)


def _commands(rows: list[dict[str, Any]]) -> Iterator[Item]:
    labels = sorted({row["label"] for row in rows})
    for row in rows:
        yield _intent(row, labels, () if "?" in row["text"] else ("intent",))


def _intent(row: dict[str, Any], labels: Sequence[str], routes: tuple[str, ...]) -> Item:
    return Item(
        row["text"],
        "",
        routes=routes,
        intent=spoken(row["label"]),
        intents=[spoken(label) for label in labels],
        default_intent=_default_intent(row["label"]),
    )


@cache
def _default_intent(label: str) -> int | None:
    return next((index for index, name in enumerate(_DEFAULT_INTENTS) if label in _INTENTS[name]), None)


def spoken(label: str) -> str:
    """Return a label such as ``card_arrival`` or ``PlayMusic`` as words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", label).lower()


def _openings(rows: list[dict[str, Any]]) -> Iterator[Item]:
    for row in rows:
        yield Item(row["dialogue"][0], "", routes=("chat",))


def _queries(rows: list[dict[str, Any]]) -> Iterator[Item]:
    """Yield the title of a page, and the query that found it among other queries."""
    found = [row for row in rows if row["label"] != "0"]
    for index, row in enumerate(found):
        others = [other["text"] for other in found[index % _SLICES :: _SLICES]]
        yield Item(row["title"], "", intent=row["text"], intents=others)


def _abstracts(rows: list[dict[str, Any]]) -> Iterator[Item]:
    for row in rows[:4000]:
        text, title = row["text"], row["summary"]
        sentences = split_sentences(text)
        if not 2 <= len(sentences) <= 8 or len(text) > 300:
            continue
        shared = [bigram_share(title, sentence) for sentence in sentences]
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


def bigram_share(title: str, sentence: str) -> float:
    """Return the share of the title's pairs of characters that occur in the sentence, in [0, 1]."""
    pairs = {title[index : index + 2] for index in range(len(title) - 1)}
    return sum(pair in sentence for pair in pairs) / max(1, len(pairs))


def natural(text: str) -> str:
    """Undo the tokenisation of a corpus: ``it 's fine , really .`` becomes plain text again."""
    text = re.sub(r"\s+('(?:s|t|re|ve|ll|d|m)\b|n't\b)", r"\1", text)
    return re.sub(r"\s+([,.!?;:])", r"\1", text)


def _without_test_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave the test split out, unless the set is nothing else."""
    return [row for row in rows if row.get("split") != "test"] or rows


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Read every row of a gzipped JSON Lines file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
