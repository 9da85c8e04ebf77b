"""Overlap of training texts with evaluation rows: a model must not be trained on what it is measured on."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from qwen_allinone.eval.dataset import LabelledRow

MIN_CHARACTERS, MIN_WORDS = 12, 6

_APOSTROPHE = re.compile(r"['’`]")
_NOT_A_WORD = re.compile(r"[\W_]+")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Overlap:
    """A text and the evaluation row it shares a passage with."""

    index: int
    """Place of the text, from 0."""
    text: str
    row_id: str
    shared: str
    """Shared passage, or the whole row where that is shorter."""


def find_overlaps(
    rows: Iterable[LabelledRow], texts: Iterable[str], *, characters: int = MIN_CHARACTERS, words: int = MIN_WORDS
) -> Iterator[Overlap]:
    """Yield the texts that share a passage with a row, in their order, each once.

    With a row in English that is a run of ``words`` words, compared without punctuation; with any other, a run of
    ``characters`` characters, compared without white space but with punctuation. Case never matters. A row of any
    length is also shared by a text that equals it up to punctuation, white space and case.

    Both runs are looked up in sets, so the time grows with the length of the texts alone.
    """
    passages = _Passages(characters, words)
    for row in rows:
        passages.add(row)
    for index, text in enumerate(texts):
        found = passages.find(text)
        if found is not None:
            yield Overlap(index, text, *found)


class _Passages:
    """Every passage of the rows, with the id of its row."""

    def __init__(self, characters: int, words: int) -> None:
        self._characters = characters
        self._words = words
        self._whole: dict[str, str] = {}
        self._character_runs: dict[str, str] = {}
        self._word_runs: dict[str, str] = {}

    def add(self, row: LabelledRow) -> None:
        self._whole.setdefault(_bare(row.text), row.id)
        if row.language == "en":
            self._word_runs.update(dict.fromkeys(_word_runs(row.text, self._words), row.id))
        else:
            self._character_runs.update(dict.fromkeys(_character_runs(row.text, self._characters), row.id))

    def find(self, text: str) -> tuple[str, str] | None:
        """Return the id of a row and the passage it shares with the text, or None if there is none."""
        lookups = (
            ([_bare(text)], self._whole),
            (_character_runs(text, self._characters), self._character_runs),
            (_word_runs(text, self._words), self._word_runs),
        )
        for runs, known in lookups:
            for run in runs:
                if run in known:
                    return known[run], run
        return None


def _character_runs(text: str, length: int) -> Iterator[str]:
    dense = _SPACE.sub("", text).casefold()
    return (dense[start : start + length] for start in range(len(dense) - length + 1))


def _word_runs(text: str, length: int) -> Iterator[str]:
    found = _NOT_A_WORD.sub(" ", _APOSTROPHE.sub("", text).casefold()).split()
    return (" ".join(found[start : start + length]) for start in range(len(found) - length + 1))


def _bare(text: str) -> str:
    # An emoji or a mark alone has no letters to compare.
    return _NOT_A_WORD.sub("", text).casefold() or text.strip()
