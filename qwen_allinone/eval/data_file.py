"""Records of CSV, TSV and JSONL files, plain or gzipped."""

import codecs
import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Any

from qwen_allinone.errors import DataFileError

SUFFIXES = (".csv", ".tsv", ".jsonl")
MAX_BYTES = 512 * 2**20
"""Largest size of an unpacked file."""


@dataclass(frozen=True)
class Record:
    """One row of a data file."""

    where: str
    """File name and the line on which the record begins, from 1: the head of every message about it."""
    fields: Mapping[str, Any]
    """Column to value; strings in CSV and TSV, any JSON value in JSONL."""


def read_records(file: Traversable) -> list[Record]:
    """Read a file whole; its suffix, with or without ``.gz``, names the format.

    CSV may quote fields. TSV is never quoted, as its standard has it: a quotation mark there is part of the text.
    Blank lines are skipped.

    Raises:
        DataFileError: the file is missing, has another suffix, is not UTF-8, or a record is broken.
    """
    stem = file.name.lower().removesuffix(".gz")
    suffix = next((suffix for suffix in SUFFIXES if stem.endswith(suffix)), None)
    if suffix is None:
        raise DataFileError(f"{file.name} is not a data file; allowed suffixes: {', '.join(SUFFIXES)}, each also .gz")
    text = _decode(_bytes(file), file.name)
    if suffix == ".jsonl":
        return list(_json_lines(text, file.name))
    return list(_separated(text, file.name, tabs=suffix == ".tsv"))


def _bytes(file: Traversable) -> bytes:
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise DataFileError(f"there is no file {file}; check the path") from error
    except OSError as error:
        raise DataFileError(f"{file} cannot be read: {error.strerror or error}") from error
    if not file.name.lower().endswith(".gz"):
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            unpacked = packed.read(MAX_BYTES + 1)  # a small file may unpack to more than the memory holds
    except (OSError, EOFError, zlib.error) as error:
        raise DataFileError(f"{file.name} is not a complete gzip file: {error}") from error
    if len(unpacked) > MAX_BYTES:
        raise DataFileError(f"{file.name} unpacks to more than {MAX_BYTES // 2**20} MB; split it")
    return unpacked


def _decode(data: bytes, name: str) -> str:
    body = data.removeprefix(codecs.BOM_UTF8)
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        offset = error.start + len(data) - len(body)
        raise DataFileError(f"{name} is not UTF-8 at byte {offset}; save it as UTF-8") from error


def _json_lines(text: str, name: str) -> Iterator[Record]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            fields = json.loads(line)
            json.dumps(fields, ensure_ascii=False).encode("utf-8")  # json.loads lets half a character through
        except UnicodeEncodeError as error:
            raise DataFileError(f"{where}: holds half of a character (a lone surrogate)") from error
        except (ValueError, RecursionError) as error:
            raise DataFileError(f"{where}: broken JSON: {error}") from error
        if not isinstance(fields, dict):
            raise DataFileError(f"{where}: each line must be a JSON object, this one is not")
        yield Record(where, fields)


def _separated(text: str, name: str, *, tabs: bool) -> Iterator[Record]:
    lines = io.StringIO(text, newline="")
    if tabs:
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True)
    else:
        reader = csv.reader(lines, strict=True)
    header: list[str] = []
    for where, values in _numbered(reader, name):
        if not header:
            header = _header(values, where)
        elif len(values) != len(header):
            remedy = "no tab may occur in a field" if tabs else "put texts that contain a comma in quotation marks"
            raise DataFileError(f"{where}: {len(values)} fields where the header has {len(header)}; {remedy}")
        else:
            yield Record(where, dict(zip(header, values, strict=True)))


def _numbered(reader: Any, name: str) -> Iterator[tuple[str, list[str]]]:
    while True:
        where = f"{name}, line {reader.line_num + 1}"  # the reader counts line breaks within fields, too
        try:
            values = next(reader, None)
        except csv.Error as error:
            raise DataFileError(f"{where}: broken record: {error}") from error
        if values is None:
            return
        if values:
            yield where, values


def _header(values: list[str], where: str) -> list[str]:
    names = [value.strip() for value in values]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise DataFileError(f"{where}: columns named twice: {', '.join(twice)}")
    return names
