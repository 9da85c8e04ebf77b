"""Search tasks on public data sets, none of whose texts the bundled embedder learned from."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwen_allinone.eval.data_file import read_records

Rows = list[Mapping[str, Any]]

_FILES = (
    "summary/zh_csl_title_dev", "retrieval/zh_atec_pairs", "retrieval/zh_bustm_pairs", "retrieval/zh_cmrc2018",
    "retrieval/zh_kdconv_travel_dev", "retrieval/zh_kdconv_travel_passages", "retrieval/en_xquad", "retrieval/zh_xquad",
)  # fmt: skip
_ARTICLE = 5  # paragraphs of an XQuAD article, which follow each other
_SEED = 0  # with which the embedder was trained, so that the pairs that it left out are the same


@dataclass(frozen=True)
class SearchTask:
    """Questions, passages, and for each question the places of the passages that answer it."""

    name: str
    questions: list[str]
    passages: list[str]
    answers: list[set[int]]

    @property
    def texts(self) -> set[str]:
        """All questions and passages."""
        return {*self.questions, *self.passages}


def missing(folder: Path) -> list[str]:
    """Return the names of the data sets that are not in the folder."""
    return [name for name in _FILES if not (folder / f"{name}.jsonl.gz").is_file()]


def measured_on(folder: Path) -> list[SearchTask]:
    """Return the tasks that measure the embedder."""
    zh, en = (_odd_articles(_rows(folder, f"retrieval/{language}_xquad")) for language in ("zh", "en"))
    return [
        _kdconv(folder),
        _reading("xquad zh", zh, zh),
        _reading("xquad en", en, en),
        _paraphrases("atec pairs", _atec(folder)[0]),
        _paraphrases("bustm pairs", _rows(folder, "retrieval/zh_bustm_pairs")),
        _reading("xquad zh to en", zh, en),
        _reading("xquad en to zh", en, zh),
    ]


def chosen_on(folder: Path) -> list[SearchTask]:
    """Return the tasks by which variants of the recipe were chosen."""
    cmrc = _of_paragraphs(_rows(folder, "retrieval/zh_cmrc2018"), lambda place: place % 5 == 0)
    titles = _rows(folder, "summary/zh_csl_title_dev")
    answers = [{place} for place in range(len(titles))]
    return [
        _reading("cmrc", cmrc, cmrc),
        SearchTask("csl titles", [row["summary"] for row in titles], [row["text"] for row in titles], answers),
        _paraphrases("atec pairs", _atec(folder)[1]),
    ]


def _rows(folder: Path, name: str) -> Rows:
    return [record.fields for record in read_records(folder / f"{name}.jsonl.gz")]


def _atec(folder: Path) -> tuple[Rows, Rows]:
    """Draw 2,000 positive pairs, and 1,000 of the others that share no text with them."""
    rng = random.Random(_SEED)
    positive = [row for row in _rows(folder, "retrieval/zh_atec_pairs") if row["label"] == "1"]
    first = rng.sample(positive, 2000)
    texts = {row["text"] for row in first} | {row["text2"] for row in first}
    others = [row for row in positive if row["text"] not in texts and row["text2"] not in texts]
    return first, rng.sample(others, 1000)


def _odd_articles(rows: Rows) -> Rows:
    return _of_paragraphs(rows, lambda place: place // _ARTICLE % 2 == 1)


def _of_paragraphs(rows: Rows, taken: Callable[[int], bool]) -> Rows:
    """Return the rows of some paragraphs, by their place."""
    contexts = {context for place, context in enumerate(_contexts(rows)) if taken(place)}
    return [row for row in rows if row["context"] in contexts]


def _contexts(rows: Rows) -> list[str]:
    return _unique(row["context"] for row in rows)


def _unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _paraphrases(name: str, rows: Rows) -> SearchTask:
    """Ask with the first texts of positive pairs, and search all second texts."""
    passages = _unique(row["text2"] for row in rows)
    places = {passage: place for place, passage in enumerate(passages)}
    answers: dict[str, set[int]] = {}
    for row in rows:
        if row["label"] == "1":
            answers.setdefault(row["text"], set()).add(places[row["text2"]])
    return SearchTask(name, list(answers), passages, list(answers.values()))


def _kdconv(folder: Path) -> SearchTask:
    asked = _rows(folder, "retrieval/zh_kdconv_travel_dev")
    searched = _rows(folder, "retrieval/zh_kdconv_travel_passages")
    titles = [row["title"] for row in searched]
    answers = [_places(titles, row["gold_titles"]) for row in asked]
    return SearchTask("kdconv travel", [row["question"] for row in asked], [row["text"] for row in searched], answers)


def _places(titles: Sequence[str], right: Sequence[str]) -> set[int]:
    return {place for place, title in enumerate(titles) if title in right}


def _reading(name: str, asked: Rows, answering: Rows) -> SearchTask:
    """Ask the questions of some rows, and search the paragraphs of the same rows, maybe in another language."""
    passages = _contexts(answering)
    places = {passage: place for place, passage in enumerate(passages)}
    answers = [{places[row["context"]]} for row in answering]
    return SearchTask(name, [row["question"] for row in asked], passages, answers)
