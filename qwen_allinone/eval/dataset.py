"""Labelled sets: texts with the answers that people gave."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from qwen_allinone.errors import DataFileError
from qwen_allinone.eval.data_file import Record, read_records

LABEL_SEPARATOR = "|"
"""Mark between the labels of a row that may be answered in more than one way."""

LABEL_MAPS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "sentiment": MappingProxyType(
            dict.fromkeys(["positive", "pos", "1", "1.0", "正面", "正向", "正", "积极", "好评"], "positive")
            | dict.fromkeys(["negative", "neg", "0", "0.0", "负面", "负向", "负", "消极", "差评"], "negative")
        ),
        "routes": MappingProxyType({route: route for route in ("sentiment", "chat", "intent", "summary")}),
    }
)
"""Spelling to label for each built-in set; the label map to read your own file of the same task with."""


@dataclass(frozen=True)
class LabelledRow:
    """One text and its right answers."""

    id: str
    text: str
    labels: tuple[str, ...]
    """Every accepted answer, the main one first; empty where the data has none."""
    language: str
    """Language of the text; empty where the text is blank."""
    slices: tuple[str, ...] = ()
    """Groups the row is reported under, such as ``language:zh``, ``domain:food``, ``negation``."""

    @property
    def blank(self) -> str | None:
        """The part that is missing, ``blank text`` or ``blank label``; such a row is not decided. None if complete."""
        if not self.text.strip():
            return "blank text"
        return None if self.labels else "blank label"


@dataclass(frozen=True)
class LabelledSet:
    """A named collection of labelled rows, at least one of them complete."""

    name: str
    rows: tuple[LabelledRow, ...]

    def __post_init__(self) -> None:
        if not self.rows:
            raise DataFileError(f"{self.name} has no rows; give at least one")
        blanks = {row.blank for row in self.rows}
        if None not in blanks:
            found = " or ".join(sorted(map(str, blanks)))
            raise DataFileError(f"{self.name}: every row has a {found}; name the columns that hold texts and labels")

    @classmethod
    def builtin(cls, name: str) -> Self:
        """Read a set that comes with the package: ``sentiment`` or ``routes``.

        Raises:
            DataFileError: there is no set of that name.
        """
        columns = {"sentiment": ("label", ("language", "domain", "slices")), "routes": ("labels", ("language",))}
        if name not in columns:
            raise DataFileError(f"there is no built-in set {name!r}; there are: {', '.join(columns)}")
        label, slices = columns[name]
        file = files("qwen_allinone.eval") / "sets" / f"{name}.jsonl"
        reader = _RowReader("text", label, "id", slices, LABEL_MAPS[name])
        return cls(name, reader.read(file))

    @classmethod
    def from_file(
        cls,
        path: str | PathLike[str],
        text_column: str = "text",
        *,
        label_column: str = "label",
        label_map: Mapping[str, str] | None = None,
        id_column: str | None = None,
        slice_columns: Sequence[str] = (),
    ) -> Self:
        """Read a CSV, TSV or JSONL file, plain or gzipped, in UTF-8.

        A row whose text or label is blank is kept: a run counts it as unscored.

        Args:
            path: data file; its suffix names the format.
            text_column: column of the text.
            label_column: column of the label; several accepted labels are a list in JSONL, joined by ``|`` elsewhere.
            label_map: spelling, in any case, to label; the labels themselves are allowed spellings. Without it
                labels are taken as they stand.
            id_column: column of the row's name; without it, or where it is blank, the row's number in the set, from 1.
            slice_columns: columns to report accuracy by; blank values make no slice, and each element of a JSONL
                list makes one. The language always is a slice, recognised from the text unless a column
                ``language`` is named here.

        Raises:
            DataFileError: the file cannot be read, lacks a column, has an unknown label, or every row is blank.
        """
        file = Path(path)
        reader = _RowReader(text_column, label_column, id_column, tuple(slice_columns), label_map)
        name = file.name.encode("utf-8", "replace").decode()  # a report in UTF-8 must be able to hold it
        return cls(name, reader.read(file))

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Every label that some row accepts, sorted."""
        labels: set[str] = set()
        for row in self.rows:
            labels.update(row.labels)
        return tuple(sorted(labels))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of texts and labels in their order, the same for every file format and column names."""
        lines = (json.dumps([row.text, row.labels], ensure_ascii=False) for row in self.rows)
        return "sha256:" + sha256("\n".join(lines).encode("utf-8")).hexdigest()


@dataclass(frozen=True)
class _RowReader:
    """Columns of a data file, and what their values mean."""

    text_column: str
    label_column: str
    id_column: str | None
    slice_columns: tuple[str, ...]
    label_map: Mapping[str, str] | None

    def read(self, file: Traversable) -> tuple[LabelledRow, ...]:
        records = read_records(file)
        self._require_columns(records)
        spellings = self._spellings()
        if spellings is not None:
            self._require_known_labels(records, spellings)
        rows = tuple(self._row(record, number, spellings) for number, record in enumerate(records, start=1))
        _require_unique_ids(rows, file.name)
        return rows

    def _require_columns(self, records: Sequence[Record]) -> None:
        """Refuse a column that no record has; one that is missing in some records, as JSONL may, is blank in these."""
        present: dict[str, None] = {}
        for record in records:
            present.update(dict.fromkeys(record.fields))
        ids = () if self.id_column is None else (self.id_column,)
        for column in (self.label_column, self.text_column, *ids, *self.slice_columns):
            if records and column not in present:
                names = ", ".join(map(repr, present))
                raise DataFileError(f"{records[0].where}: there is no column {column!r}; there are: {names}")

    def _row(self, record: Record, number: int, spellings: Mapping[str, str] | None) -> LabelledRow:
        text = _text(record, self.text_column)
        labels: Iterable[str] = self._labels(record)
        if spellings is not None:
            labels = (spellings[label.casefold()] for label in labels)
        id = record.fields.get(self.id_column) if self.id_column else None
        language, slices = self._grouping(record, text)
        return LabelledRow(str(number if _is_blank(id) else id), text, tuple(dict.fromkeys(labels)), language, slices)

    def _labels(self, record: Record) -> list[str]:
        """Return the labels as they are written; none if the cell, or one of several labels in it, is blank."""
        value = record.fields.get(self.label_column)
        if value is None:
            return []
        labels: list[str] = []
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, bool) or not isinstance(each, str | int | float):
                raise DataFileError(f"{record.where}: column {self.label_column!r} must hold a label or a list of them")
            labels += [label.strip() for label in str(each).split(LABEL_SEPARATOR)]
        return labels if all(labels) else []

    def _spellings(self) -> dict[str, str] | None:
        if self.label_map is None:
            return None
        plain = {label.casefold(): label for label in self.label_map.values()}
        return plain | {spelling.strip().casefold(): label for spelling, label in self.label_map.items()}

    def _require_known_labels(self, records: Sequence[Record], spellings: Mapping[str, str]) -> None:
        unknown: dict[str, str] = {}
        for record in records:
            for label in self._labels(record):
                if label.casefold() not in spellings:
                    unknown.setdefault(label, record.where)
        if unknown:
            named = ", ".join(repr(label) for label in list(unknown)[:5]) + (", ..." if len(unknown) > 5 else "")
            raise DataFileError(
                f"{next(iter(unknown.values()))}: labels not known: {named}; "
                f"allowed: {', '.join(spellings)}; remove such rows or map their labels"
            )

    def _grouping(self, record: Record, text: str) -> tuple[str, tuple[str, ...]]:
        slices: list[str] = []
        language: str | None = None
        for column in self.slice_columns:
            value = record.fields.get(column)
            if _is_blank(value):
                continue
            slices += map(str, value) if isinstance(value, list) else [f"{column}:{value}"]
            language = str(value) if column == "language" else language
        if language is None and text.strip():
            from qwen_allinone.model.prompt.language import language_of

            language = language_of(text)
            slices = [f"language:{language}", *slices]
        return language or "", tuple(slices)


def _text(record: Record, column: str) -> str:
    value = record.fields.get(column)
    if value is not None and not isinstance(value, str):
        raise DataFileError(f"{record.where}: column {column!r} must hold a text, this is {type(value).__name__}")
    return value or ""


def _is_blank(value: Any) -> bool:
    return value is None or value == ""


def _require_unique_ids(rows: Sequence[LabelledRow], name: str) -> None:
    for id, count in Counter(row.id for row in rows).most_common(1):
        if count > 1:
            raise DataFileError(f"{name}: id {id!r} stands in {count} rows; choose another id column")
