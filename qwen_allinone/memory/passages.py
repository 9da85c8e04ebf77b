"""Text and Markdown files, read and cut into passages."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qwen_allinone.errors import DataFileError
from qwen_allinone.memory.store import digest

SUFFIXES = (".txt", ".md")
PASSAGE_LENGTH = 300
"""Characters a passage has at most."""

_SEPARATORS = [r"\n\n", r"\n", r"[。！？；]", r"[.!?;] ", r"[，、]|, ", " ", ""]
_LAYOUT = f"1:{PASSAGE_LENGTH}"  # part of a file's digest: cutting differently makes every file a changed one


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
    found = Path(path).expanduser().resolve()
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
    from langchain_text_splitters import MarkdownHeaderTextSplitter

    levels = [("#" * level, str(level)) for level in range(1, 7)]
    for part in MarkdownHeaderTextSplitter(levels).split_text(text):
        yield Section(
            " > ".join(part.metadata[level] for _, level in levels if level in part.metadata), part.page_content
        )


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
