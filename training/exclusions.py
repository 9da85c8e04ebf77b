"""Texts, labels and memories that judge the model and are never trained on."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qwen_allinone.errors import DataFileError
from qwen_allinone.eval.data_file import Record, read_records
from qwen_allinone.eval.labelled_set import LabelledRow, LabelledSet
from qwen_allinone.eval.overlap import overlapping
from qwen_allinone.model.language import language_of
from training.public_sets import held_out_labels, spoken
from training.sources import Item, Source


@dataclass(frozen=True)
class Exclusions:
    """Rows that no text may overlap, and labels and memories that no text may have."""

    rows: tuple[LabelledRow, ...]
    labels: frozenset[str]
    """Labels as words."""
    memories: frozenset[str]

    @classmethod
    def from_paths(cls, paths: Sequence[Path]) -> "Exclusions":
        """Read files of JSON lines, or folders of them, and add the sets that the package ships.

        A row has a ``text``; where it has ``candidates``, a ``label`` or a ``memory``, these are left out as well.

        Raises:
            DataFileError: a file cannot be read, or has a row without a text.
        """
        rows = [*LabelledSet.shipped("sentiment").rows, *LabelledSet.shipped("routes").rows]
        labels, memories = held_out_labels(), set()
        for record in _records(paths):
            rows.append(_row(record))
            labels |= {spoken(label) for label in _labels(record.fields)}
            memories.add(record.fields.get("memory"))
        return cls(tuple(rows), frozenset(labels), frozenset(filter(None, memories)))

    def applied_to(self, sources: Iterable[Source]) -> list[Source]:
        """Return the sources without every item that shares a run of words with a row, or has a label or a memory."""
        left = [replace(source, items=self._left(source.items)) for source in sources]
        return [source for source in left if source.items]

    def _left(self, items: Sequence[Item]) -> list[Item]:
        dropped = {index for index, item in enumerate(items) if item.memory in self.memories}
        for texts in ([item.text for item in items], [item.reply or "" for item in items]):
            dropped |= {overlap.index for overlap in overlapping(self.rows, texts)}
        left = [self._without_labels(item) for index, item in enumerate(items) if index not in dropped]
        return [item for item in left if item is not None]

    def _without_labels(self, item: Item) -> Item | None:
        """Return the item without such candidates; None if one of them is its answer."""
        if item.intent is None:
            return item
        if spoken(item.intent) in self.labels:
            return None
        intents = [label for label in item.intents if spoken(label) not in self.labels]
        meanings = {label: meaning for label, meaning in item.meanings.items() if spoken(label) not in self.labels}
        return replace(item, intents=intents, meanings=meanings)


def _records(paths: Iterable[Path]) -> Iterator[Record]:
    for path in paths:
        for file in sorted(path.glob("*.jsonl")) if path.is_dir() else [path]:
            yield from read_records(file)


def _row(record: Record) -> LabelledRow:
    text = record.fields.get("text")
    if not isinstance(text, str):
        raise DataFileError(f"{record.where}: there is no text; give one in a column 'text'")
    return LabelledRow(record.where, text, (), record.fields.get("language") or language_of(text))


def _labels(fields: Mapping[str, Any]) -> list[str]:
    """Return the candidates of a row or, where it has none, its label."""
    labels = fields.get("candidates", (fields.get("label"),))
    return [label for label in labels if isinstance(label, str)]
