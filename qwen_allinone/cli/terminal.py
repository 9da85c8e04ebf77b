"""What the command line reads and shows: texts in, lines, tables and JSON out."""

import json
import os
import sys
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from rich.console import Console, RenderableType
from rich.text import Text

from qwen_allinone.errors import DataFileError, EmptyTextError, InputError, TextTooLongError

if TYPE_CHECKING:
    from qwen_allinone.assistant import Turn
    from qwen_allinone.model.prompt.language import Language

MAX_CHARACTERS = 100_000
"""Longest text that one command takes."""

_MAX_BYTES = 4 * MAX_CHARACTERS  # no character takes more than four in UTF-8
_TOO_LONG = f"longer than {MAX_CHARACTERS:,} characters; shorten it or split it"
_ENVIRONMENT = {
    "ANONYMIZED_TELEMETRY": "False",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}
_WORDS: Mapping["Language", Mapping[str, str]] = {
    "zh": {
        "route": "路由",
        "intensity": "情绪强度",
        "intent": "意图",
        "unsure": "（不太确定）",
        "silent": "（模型没有回答）",
        "recalled": "记得：",
        "saved": "已记住这句话",
        "prompt": "除文本外告诉模型：",
        "nothing": "（无）",
        "cut": "文本较长，中间 {} 个词元没有读",
    },
    "en": {
        "route": "route",
        "intensity": "intensity",
        "intent": "intent",
        "unsure": " (not sure)",
        "silent": "(the model said nothing)",
        "recalled": "recalled:",
        "saved": "saved to memory",
        "prompt": "the model was also told:",
        "nothing": "(nothing)",
        "cut": "long text: {} tokens in its middle were not read",
    },
}


def prepare() -> None:
    """Set up this process as a command line: UTF-8 output, no telemetry, no chatter of other libraries.

    What the user's environment or ``python -W`` already says is left alone.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")


def checked(text: str, what: str = "the text") -> str:
    """The text itself.

    Raises:
        EmptyTextError: it is blank.
        TextTooLongError: it is longer than ``MAX_CHARACTERS``.
        InputError: it is not valid Unicode, as arguments with bytes outside UTF-8 are not.
    """
    if not text.strip():
        raise EmptyTextError(f"{what} is empty; give at least one character that is not white space")
    if len(text) > MAX_CHARACTERS:
        raise TextTooLongError(f"{what} is {_TOO_LONG}")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError(f"{what} is not valid UTF-8; give it in UTF-8")
    return text


def read_text(given: str) -> str:
    """The argument, or standard input if it is ``-``.

    Raises:
        InputError: it is blank, too long or not UTF-8.
    """
    if given != "-":
        return checked(given)
    data = _standard_input().read(_MAX_BYTES + 1)
    return checked(_decoded(data, "standard input"), "standard input")


def read_lines(path: str) -> list[str]:
    """The lines of a UTF-8 file, or of standard input if the path is ``-``; blank ones included.

    Raises:
        DataFileError: the file cannot be read or is not UTF-8.
    """
    name = "standard input" if path == "-" else path
    try:
        data = _standard_input().read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise DataFileError(f"{path} cannot be read: {error.strerror or error}; name a text file") from error
    lines = data.removesuffix(b"\n").split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataFileError(f"{name}, line {number}, is not UTF-8; save it as UTF-8") from error
    return data.decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n").split("\n")


def arriving_lines(prompt: str) -> Iterator[bytes]:
    """Lines of standard input as they come; from a person at a terminal they are asked for."""
    if sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty():
        while True:
            try:
                yield input(prompt).encode("utf-8", errors="surrogateescape")
            except EOFError:
                show()
                return
    while line := _standard_input().readline(_MAX_BYTES + 2):
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = _standard_input().readline(_MAX_BYTES)
        yield line.rstrip(b"\r\n")


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise InputError("there is no standard input to read; give the text itself")
    return sys.stdin.buffer


def decoded_line(line: bytes) -> str:
    """One line as text.

    Raises:
        InputError: it is blank, too long or not UTF-8.
    """
    return checked(_decoded(line, "the line"), "the line")


def _decoded(data: bytes, what: str) -> str:
    if len(data) > _MAX_BYTES:
        raise TextTooLongError(f"{what} is {_TOO_LONG}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{what} is not UTF-8 at byte {error.start}; give it in UTF-8") from error


def show(content: RenderableType = "", *, style: str = "") -> None:
    """One line or table on standard output."""
    if isinstance(content, str):
        _console().print(Text(printable(content), style=style), soft_wrap=True)
    else:
        _console().print(content)


def show_json(value: Any) -> None:
    """One line of JSON on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def show_error(message: object, *, kind: str = "error") -> None:
    """One line on standard error."""
    line = " ".join(printable(str(message)).split())
    Console(stderr=True).print(Text(f"{kind}: {line}"), soft_wrap=True, highlight=False)


def show_opening(turn: "Turn") -> None:
    """Show mood and route of a turn whose answer is still to come."""
    words = words_for(turn.text)
    show(str(turn.sentiment), style="bold")
    show(f"→ {words['route']} {turn.route} {turn.decision.probabilities[turn.route]:.2f}", style="dim")


def show_piece(turn: "Turn") -> None:
    """Show a piece of an answer that is text, as it comes."""
    if isinstance(turn.output, str):
        sys.stdout.write(printable(turn.output))
        sys.stdout.flush()


def show_answer(turn: "Turn") -> None:
    """End the line of an answer whose pieces were shown; show one that is no text."""
    show("" if isinstance(turn.output, str) else answer_line(turn.text, turn.output))


def answer_line(text: str, output: Any) -> str:
    """A route's output in words, in the language of the text."""
    from qwen_allinone.tools import Intent, Sentiment

    words = words_for(text)
    if isinstance(output, Sentiment):
        return f"{words['intensity']} {output.intensity:.1f} / 5"
    if isinstance(output, Intent):
        return f"{words['intent']} {output}{'' if output.accepted else words['unsure']}"
    return words["silent"] if output is None else str(output)


def show_rest(turn: "Turn", *, prompt: bool = False) -> None:
    """What was recalled and saved for a finished turn and, if asked for, what the model was told."""
    words = words_for(turn.text)
    if turn.recalled:
        show(words["recalled"], style="dim")
        for memory in turn.recalled:
            show(f"  · {memory}", style="dim")
    if "remember" in turn.timings_ms:
        show(words["saved"], style="dim")
    if prompt:
        show(f"{words['prompt']} {turn.prompt or words['nothing']}", style="dim")
    if turn.truncated_tokens:
        show_error(words["cut"].format(turn.truncated_tokens), kind="note")


def words_for(text: str) -> Mapping[str, str]:
    """The labels of the output in the language of a text."""
    from qwen_allinone.model.prompt.language import language_of

    return _WORDS[language_of(text)]


def printable(text: str) -> str:
    """The text without control characters, which could steer the terminal; line ends and tabs stay."""
    return "".join(mark for mark in text if mark in "\n\t" or unicodedata.category(mark) != "Cc")


def shortened(text: str, width: int = 60) -> str:
    """The text on one line of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"


@contextmanager
def waiting(message: str) -> Iterator[None]:
    """A sign of life on standard error, for a person only."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(Text(message)):
        yield


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, for a person only; call what it gives with how many of how many are done."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _console() -> Console:
    return Console(highlight=False, markup=False, emoji=False)
