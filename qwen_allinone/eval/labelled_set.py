"""Texts with the answers that people gave."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
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

SEVERAL = "|"
"""Separates the labels of a row that may be answered in more than one way."""

LABEL_MAPS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "sentiment": MappingProxyType(
            dict.fromkeys(["positive", "pos", "1", "1.0", "正面", "正向", "正", "积极", "好评"], "positive")
            | dict.fromkeys(["negative", "neg", "0", "0.0", "负面", "负向", "负", "消极", "差评"], "negative")
        ),
        "routes": MappingProxyType({route: route for route in ("sentiment", "chat", "intent", "summary")}),
    }
)
"""Per shipped set: spelling to label; the label map to read one's own file of the same task with."""


@dataclass(frozen=True)
class LabelledRow:
    """One text and what counts as a right answer."""

    id: str
    text: str
    labels: tuple[str, ...]
    """Every accepted answer, at least one; the first is the main one."""
    language: str
    slices: tuple[str, ...] = ()
    """Groups the row is reported under, such as ``language:zh``, ``domain:food``, ``negation``."""


@dataclass(frozen=True)
class LabelledSet:
    """A named collection of labelled rows, never empty."""

    name: str
    rows: tuple[LabelledRow, ...]

    def __post_init__(self) -> None:
        if not self.rows:
            raise DataFileError(f"{self.name} has no rows; give at least one")

    @classmethod
    def shipped(cls, name: str) -> Self:
        """A set that comes with the package: ``sentiment`` or ``routes``.

        Raises:
            DataFileError: there is no set of that name.
        """
        columns = {"sentiment": ("label", ("language", "domain", "slices")), "routes": ("labels", ("language",))}
        if name not in columns:
            raise DataFileError(f"there is no shipped set {name!r}; there are: {', '.join(columns)}")
        label, slices = columns[name]
        file = files("qwen_allinone.eval") / "sets" / f"{name}.jsonl"
        reading = _Reading("text", label, "id", slices, LABEL_MAPS[name])
        return cls(name, reading.rows(file))

    @classmethod
    def of_file(
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

        Args:
            path: its suffix names the format.
            text_column: where the text is.
            label_column: where the label is; several accepted labels are a list in JSONL, joined by ``|`` elsewhere.
            label_map: spelling, in any case, to label; the labels themselves are allowed spellings. Without it
                labels are taken as they stand.
            id_column: where the row's name is; without it the row's number in the set, from 1.
            slice_columns: columns to report accuracy by; blank values make no slice, and each element of a JSONL
                list makes one. The language always is a slice, recognised from the text unless a column
                ``language`` is named here.

        Raises:
            DataFileError: the file cannot be read, lacks a column, or a row is blank or has an unknown label.
        """
        file = Path(path)
        reading = _Reading(text_column, label_column, id_column, tuple(slice_columns), label_map)
        return cls(file.name.encode("utf-8", "replace").decode(), reading.rows(file))

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Every label that some row accepts, sorted."""
        return tuple(sorted({label for row in self.rows for label in row.labels}))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of texts and labels in their order, whatever file format or columns they came from."""
        lines = (json.dumps([row.text, row.labels], ensure_ascii=False) for row in self.rows)
        return "sha256:" + sha256("\n".join(lines).encode("utf-8")).hexdigest()


@dataclass(frozen=True)
class _Reading:
    text: str
    label: str
    id: str | None
    slices: tuple[str, ...]
    label_map: Mapping[str, str] | None

    def rows(self, file: Traversable) -> tuple[LabelledRow, ...]:
        records = read_records(file)
        spellings = self._spellings()
        if spellings is not None:
            self._check_labels(records, spellings)
        rows = tuple(self._row(record, number, spellings) for number, record in enumerate(records, start=1))
        for name, count in Counter(row.id for row in rows).most_common(1):
            if count > 1:
                raise DataFileError(f"{file.name}: id {name!r} stands in {count} rows; choose another id column")
        return rows

    def _row(self, record: Record, number: int, spellings: Mapping[str, str] | None) -> LabelledRow:
        text = self._value(record, self.text)
        if not isinstance(text, str) or not text.strip():
            raise DataFileError(f"{record.where}: column {self.text!r} must hold a text that is not blank")
        written = self._labels(record)
        labels = written if spellings is None else [spellings[label.casefold()] for label in written]
        named = str(self._value(record, self.id)) if self.id else str(number)
        language, slices = self._grouping(record, text)
        return LabelledRow(named, text, tuple(dict.fromkeys(labels)), language, slices)

    def _value(self, record: Record, column: str) -> Any:
        if column not in record.fields:
            there = ", ".join(repr(name) for name in record.fields)
            raise DataFileError(f"{record.where}: there is no column {column!r}; there are: {there}")
        return record.fields[column]

    def _labels(self, record: Record) -> list[str]:
        value = self._value(record, self.label)
        values = value if isinstance(value, list) else [value]
        if any(isinstance(each, bool) or not isinstance(each, str | int | float) for each in values):
            raise DataFileError(f"{record.where}: column {self.label!r} must hold a label or a list of labels")
        labels = [label.strip() for each in values for label in str(each).split(SEVERAL)]
        if not labels or not all(labels):
            raise DataFileError(f"{record.where}: column {self.label!r} is blank; give a label or remove the row")
        return labels

    def _spellings(self) -> dict[str, str] | None:
        if self.label_map is None:
            return None
        plain = {label.casefold(): label for label in self.label_map.values()}
        return plain | {spelling.strip().casefold(): label for spelling, label in self.label_map.items()}

    def _check_labels(self, records: Sequence[Record], spellings: Mapping[str, str]) -> None:
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
        for column in self.slices:
            value = self._value(record, column)
            if value is None or value == "":
                continue
            slices += map(str, value) if isinstance(value, list) else [f"{column}:{value}"]
            language = str(value) if column == "language" else language
        if language is None:
            from qwen_allinone.model.prompt.language import language_of

            language = language_of(text)
            slices = [f"language:{language}", *slices]
        return language, tuple(slices)
