"""Text and Markdown files, read and cut into passages."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qwen_allinone.errors import DataFileError
from qwen_allinone.memory.store import digest

SUFFIXES = (".txt", ".md")
PASSAGE_LENGTH = 300
"""Characters a passage has at most."""

_SEPARATORS = [r"\n\n", r"\n", r"[。！？；]", r"[.!?;] ", r"[，、]|, ", " ", ""]
_HEADING = re.compile(r"(#{1,6})[ \t]+(.*?)[ \t]*#*\s*$")
_FENCE = re.compile(r"\s{0,3}(?:```|~~~)")
_LAYOUT = f"2:{PASSAGE_LENGTH}"  # part of a file's digest: cutting differently makes every file a changed one


@dataclass(frozen=True)
class Section:
    """A piece of a file under one heading."""

    heading: str
    """The headings above it, outermost first, joined by " > "; empty where there are none."""
    text: str


@dataclass(frozen=True)
class SourceFile:
    """One file, read as a whole."""

    source: str
    """Its absolute path."""
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

    @property
    def digest(self) -> str:
        """Changes when the text, or the way it is cut, changes."""
        return digest(f"{_LAYOUT}\n{self.text}")

    def sections(self) -> list[Section]:
        """The file cut into passages, in order: Markdown by headings first, then at the ends of sentences."""
        whole = [Section("", self.text)]
        outer = list(_by_heading(self.text)) if self.source.lower().endswith(".md") else whole
        return [Section(part.heading, text) for part in outer or whole for text in _cut(part.text)]


def source_files(path: Path | str) -> list[SourceFile]:
    """The file, or every .txt and .md file in the folder and below, read.

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
    """The text under each heading, whole and character for character; marks within code fences are no headings."""
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
        chunk_size=PASSAGE_LENGTH,
        chunk_overlap=0,
    )
    return [piece for piece in splitter.split_text(text) if piece.strip()]
