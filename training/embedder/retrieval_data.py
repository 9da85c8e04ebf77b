"""Data of the embedder, and the texts of it that are held out.

Held out to measure: all of ``zh_kdconv_travel_*``, every second article of ``zh_xquad`` and ``en_xquad`` (the same
ones), all of ``zh_bustm_pairs``, and 2,000 positive pairs of ``zh_atec_pairs``, the first that the seed draws. Held out
to choose between variants: every fifth paragraph of ``zh_cmrc2018``, ``zh_csl_title_dev``, and 1,000 further pairs of
``zh_atec_pairs``. Nothing is learned from any of these texts, nor from a pair that shares a text with them.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from training.embedder import pairs as make
from training.embedder.pairs import Pair, Rows
from training.public_sets import rows_of

DICTIONARY = Path(__file__).parent / "dictionary.tsv"

_ARTICLE = 5  # paragraphs of an XQuAD article, which follow each other
_TEXTS = (
    "intent/en_banking77", "intent/en_clinc150", "intent/en_snips", "intent/zh_smp2017", "sentiment/en_sst2",
    "sentiment/zh_eprstmt", "sentiment/zh_finance_seed", "sentiment/zh_products4", "sentiment/zh_shopping",
    "sentiment/zh_weibo_ewect", "summary/zh_csl", "retrieval/zh_qbqtc",
)  # fmt: skip
_CHATS = ("chat/zh_crosswoz", "chat/zh_chatterbot", "chat/en_chatterbot")
_DIVIDED = (
    "chat/zh_kdconv", "retrieval/en_xquad", "retrieval/zh_atec_pairs", "retrieval/zh_bustm_pairs",
    "retrieval/zh_cmrc2018", "retrieval/zh_kdconv_travel_dev", "retrieval/zh_kdconv_travel_passages",
    "retrieval/zh_xquad", "summary/zh_csl_title_dev",
)  # fmt: skip
"""Data sets of which a part or all is held out."""


@dataclass(frozen=True)
class RetrievalData:
    """Everything to learn from."""

    pairs: dict[str, list[Pair]]
    texts: list[str]
    dictionary: list[tuple[str, str]]


@dataclass(frozen=True)
class _Learned:
    """Rows of divided data sets that are learned from."""

    atec: Rows
    cmrc: Rows
    zh_xquad: Rows
    en_xquad: Rows
    kdconv: Rows


def missing(folder: Path) -> list[str]:
    """Return the names of the data sets that are not in the folder."""
    return [name for name in (*_TEXTS, *_CHATS, *_DIVIDED) if not (folder / f"{name}.jsonl.gz").is_file()]


def load(folder: Path, seed: int) -> RetrievalData:
    """Read the data folder, without what is held out.

    Raises:
        FileNotFoundError: a data set is missing.
    """
    rng = random.Random(seed)
    rows = {name: rows_of(folder / f"{name}.jsonl.gz") for name in sorted((*_TEXTS, *_CHATS, *_DIVIDED))}
    dictionary = [(left, right) for left, right in map(str.split, DICTIONARY.read_text("utf-8").splitlines())]
    learned, held_out = _split(rows, rng)
    pairs = {}
    for name, found in _pairs(rows, learned, dictionary, rng).items():
        pairs[name] = [pair for pair in found if not {pair.left, pair.right} & held_out]
    texts = [text for text in _texts(rows, learned) if text not in held_out]
    return RetrievalData(pairs, texts, dictionary)


def _split(rows: dict[str, Rows], rng: random.Random) -> tuple[_Learned, set[str]]:
    """Return the rows to learn from, and every text that is held out."""
    atec, atec_test = drawn_pairs(rows["retrieval/zh_atec_pairs"], 2000, rng)
    atec, atec_validation = drawn_pairs(atec, 1000, rng)
    cmrc, cmrc_validation = _divided(rows["retrieval/zh_cmrc2018"], lambda place: place % 5 == 0)
    zh_xquad, zh_test = _divided(rows["retrieval/zh_xquad"], lambda place: place // _ARTICLE % 2 == 1)
    en_xquad, en_test = _divided(rows["retrieval/en_xquad"], lambda place: place // _ARTICLE % 2 == 1)
    kdconv = [row for row in rows["chat/zh_kdconv"] if row["topic"] != "travel"]
    held_out = {row["text"] for row in rows["retrieval/zh_kdconv_travel_passages"]}
    held_out |= {row["question"] for row in rows["retrieval/zh_kdconv_travel_dev"]}
    for row in (*cmrc_validation, *zh_test, *en_test):
        held_out |= {row["question"], row["context"]}
    bustm = rows["retrieval/zh_bustm_pairs"]
    held_out |= {row["text2"] for row in bustm}  # all are searched, for the first texts of positive pairs
    for row in (*atec_test, *atec_validation, *(row for row in bustm if row["label"] == "1")):
        held_out |= {row["text"], row["text2"]}
    for row in rows["summary/zh_csl_title_dev"]:
        held_out |= {row["summary"], row["text"]}
    return _Learned(atec, cmrc, zh_xquad, en_xquad, kdconv), held_out


def _pairs(
    rows: dict[str, Rows], learned: _Learned, dictionary: list[tuple[str, str]], rng: random.Random
) -> dict[str, list[Pair]]:
    cmrc = _contexts(learned.cmrc)
    zh_xquad, en_xquad = _contexts(learned.zh_xquad), _contexts(learned.en_xquad)
    abstracts = [row["text"] for row in rows["summary/zh_csl"]]
    reviews = [row["text"] for row in rows["sentiment/zh_shopping"] if len(row["text"]) > 80]
    qbqtc = [row for row in rows["retrieval/zh_qbqtc"] if row["label"] != "0"]
    return {
        "atec": make.same_meaning(learned.atec),
        "qbqtc": [Pair(row["text"], row["title"], row["title"]) for row in qbqtc],
        "cmrc": make.questions(learned.cmrc),
        "cmrc sentences": make.neighbours(cmrc, rng, 4),
        "cmrc spans": make.spans(cmrc, rng, 12),
        "xquad zh": make.questions(learned.zh_xquad),
        "xquad zh spans": make.spans(zh_xquad, rng, 24),
        "xquad en": make.questions(learned.en_xquad),
        "xquad en sentences": make.neighbours(en_xquad, rng, 4),
        "xquad en spans": make.spans(en_xquad, rng, 24),
        "xquad across": make.translations(learned.zh_xquad, learned.en_xquad),
        "dictionary": [Pair(left, right, left) for left, right in dictionary],
        "csl": [Pair(row["text"], row["summary"], row["summary"]) for row in rows["summary/zh_csl"]],
        "csl spans": make.spans(abstracts, rng, 1),
        "shopping spans": make.spans(reviews, rng, 1),
        "sst spans": make.spans([row["text"] for row in rows["sentiment/en_sst2"]], rng, 1),
        "turns": make.turns(learned.kdconv + rows["chat/zh_chatterbot"]),
        "turns en": make.turns(rows["chat/en_chatterbot"]),
        "talks": make.talks(learned.kdconv + rows["chat/zh_crosswoz"], rng, 4),
        "clinc": make.same_label(rows["intent/en_clinc150"], rng, 60),
        "banking": make.same_label(rows["intent/en_banking77"], rng, 60),
        "snips": make.same_label(rows["intent/en_snips"], rng, 300),
    }


def _texts(rows: dict[str, Rows], learned: _Learned) -> Iterator[str]:
    for talk in chain(learned.kdconv, *(rows[name] for name in _CHATS)):
        yield "\n".join(talk["dialogue"])
    for row in chain.from_iterable(rows[name] for name in _TEXTS):
        yield "\n".join(row[key] for key in ("text", "summary", "title") if row.get(key))
    for row in learned.atec:
        yield from (row["text"], row["text2"])
    for part in (learned.cmrc, learned.zh_xquad, *[learned.en_xquad] * 3):  # there is little English prose
        yield from _contexts(part)
        yield from (row["question"] for row in part)


def _unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _contexts(rows: Rows) -> list[str]:
    return _unique(row["context"] for row in rows)


def _divided(rows: Rows, is_held_out: Callable[[int], bool]) -> tuple[Rows, Rows]:
    """Return the rows to learn from and the rows held out, by the place of their paragraph."""
    held_out = {context for place, context in enumerate(_contexts(rows)) if is_held_out(place)}
    return [row for row in rows if row["context"] not in held_out], [row for row in rows if row["context"] in held_out]


def drawn_pairs(rows: Rows, count: int, rng: random.Random) -> tuple[Rows, Rows]:
    """Draw so many positive pairs to hold out, and leave out every other pair that shares a text with them."""
    held_out = rng.sample([row for row in rows if row["label"] == "1"], count)
    texts: set[str] = set()
    for row in held_out:
        texts |= {row["text"], row["text2"]}
    return [row for row in rows if row["text"] not in texts and row["text2"] not in texts], held_out
