"""Text and Markdown files, read and cut into passages."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from qwen_allinone.errors import DataFileError
from qwen_allinone.memory.chroma import digest

SUFFIXES = (".txt", ".md")
MAX_PASSAGE_LENGTH = 300
"""Most characters of a passage."""

# A straight quotation mark that closes is told from one that opens by standing second. While the text is cut, half a
# surrogate pair, which no text read from a file can hold, takes its place.
_CLOSING_QUOTES = {'"': "\udc22", "'": "\udc27"}
_CLOSING_MARKS = [mark for mark in map(chr, range(0x10000)) if unicodedata.category(mark) in ("Pe", "Pf")]
_CLOSING = re.escape("".join([*_CLOSING_MARKS, *_CLOSING_QUOTES.values()]))

# A cut takes along what belongs to the words before it, so no passage begins with a closing mark or the rest of a "?!".
_NOT_BEFORE_CLOSING = rf"(?!\s{{0,40}}[{_CLOSING}])"
_SPACE = f" {_NOT_BEFORE_CLOSING}"
_SEPARATORS = [
    rf"\n\n{_NOT_BEFORE_CLOSING}",
    rf"\n{_NOT_BEFORE_CLOSING}",
    rf"[。！？；][{_CLOSING}。！？；…，、：!?]*",
    rf"[.!?;][{_CLOSING}\"'.!?;…]*{_SPACE}",
    rf"[，、][{_CLOSING}]*|,[{_CLOSING}\"']*{_SPACE}",
    _SPACE,
    rf"(?s:.)[{_CLOSING}。！？；…，、：.!?;,:]{{0,8}}",
]
_HEADING = re.compile(r"(#{1,6})[ \t]+(.*?)[ \t]*#*\s*$")
_FENCE = re.compile(r"\s{0,3}(?:```|~~~)")
_LAYOUT = f"3:{MAX_PASSAGE_LENGTH}"  # part of a file's digest: cutting differently makes every file a changed one


@dataclass(frozen=True)
class Section:
    """A piece of a file under one heading."""

    heading: str
    """Headings above it, outermost first, joined by " > "; empty where there are none."""
    text: str


@dataclass(frozen=True)
class SourceFile:
    """One file, read as a whole."""

    source: str
    """Absolute path."""
    text: str

    @classmethod
    def read(cls, path: Path) -> "SourceFile":
        """Read a UTF-8 file, with or without a byte order mark.

        Raises:
            DataFileError: it is missing, unreadable, not UTF-8, or holds no text.
        """
        try:
            str(path).encode("utf-8")
        except UnicodeEncodeError as error:
            name = str(path).encode("utf-8", "replace").decode()
            raise DataFileError(f"{name} has a name that is not UTF-8; rename it") from error
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataFileError(
                f"{path} is not UTF-8 (byte {error.start}: {error.reason}); save it as UTF-8 and add it again"
            ) from error
        except OSError as error:
            raise DataFileError(f"{path} cannot be read: {error.strerror}; name a readable .txt or .md file") from error
        if not text.strip():
            raise DataFileError(f"{path} is empty; give a file with text in it")
        return cls(str(path), text)

    @cached_property
    def digest(self) -> str:
        """Digest of the text and the way it is cut; every passage of the file bears it."""
        return digest(f"{_LAYOUT}\n{self.text}")

    def sections(self) -> list[Section]:
        """Cut the file into passages, in order: Markdown by headings first, then at the ends of sentences."""
        whole = [Section("", self.text)]
        parts = list(_by_heading(self.text)) if self.source.lower().endswith(".md") else whole
        sections = []
        for part in parts or whole:
            sections += [Section(part.heading, text) for text in _cut(part.text)]
        return sections


def source_files(path: Path | str) -> list[SourceFile]:
    """Read the file, or every .txt and .md file in the folder and below.

    Raises:
        DataFileError: the path is missing or of another kind, or one of the files cannot be read.
    """
    try:
        return _source_files(Path(path).expanduser().resolve())
    except (OSError, RuntimeError) as error:  # too long a name, no permission, no such user, a circle of links
        raise DataFileError(f"{path} cannot be read: {error}; name a readable .txt or .md file, or a folder") from error


def _source_files(found: Path) -> list[SourceFile]:
    if found.is_dir():
        files = sorted(file for file in found.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        if not files:
            raise DataFileError(f"folder {found} holds no .txt or .md file; add some, or name another folder")
        return [SourceFile.read(file) for file in files]
    if not found.exists():
        raise DataFileError(f"{found} does not exist; name a .txt or .md file, or a folder of them")
    if found.suffix.lower() not in SUFFIXES:
        raise DataFileError(f"{found} is no .txt or .md file; convert it to one of these")
    return [SourceFile.read(found)]


def _by_heading(text: str) -> Iterator[Section]:
    """Yield the text under each heading, character for character; ``#`` within a code fence is no heading."""
    trail: list[tuple[int, str]] = []
    lines: list[str] = []
    fenced = False
    for line in text.splitlines(keepends=True):
        fenced ^= bool(_FENCE.match(line))
        heading = None if fenced else _HEADING.match(line)
        if heading is None:
            lines.append(line)
            continue
        yield from _section(trail, lines)
        level = len(heading[1])
        trail = [*((above, words) for above, words in trail if above < level), (level, heading[2])]
        lines = []
    yield from _section(trail, lines)


def _section(trail: list[tuple[int, str]], lines: list[str]) -> Iterator[Section]:
    if text := "".join(lines).strip():
        yield Section(" > ".join(words for _, words in trail), text)


def _cut(text: str) -> list[str]:
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    splitter = RecursiveCharacterTextSplitter(
        separators=_SEPARATORS,
        is_separator_regex=True,
        keep_separator="end",
        chunk_size=MAX_PASSAGE_LENGTH,
        chunk_overlap=0,
    )
    for quote, closing in _CLOSING_QUOTES.items():
        text = re.sub(f"{quote}(.*?){quote}", rf"{quote}\1{closing}", text)
    pieces = splitter.split_text(text)
    for quote, closing in _CLOSING_QUOTES.items():
        pieces = [piece.replace(closing, quote) for piece in pieces]
    return [piece for piece in pieces if piece.strip()]
