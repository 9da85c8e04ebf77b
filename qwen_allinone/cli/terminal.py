"""Input and output of the command line: texts in, lines, tables and JSON out."""

import json
import os
import sys
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from rich.console import Console, RenderableType
from rich.text import Text

from qwen_allinone.errors import DataFileError, EmptyTextError, InputError, TextTooLongError

if TYPE_CHECKING:
    from qwen_allinone.assistant import Turn
    from qwen_allinone.model.prompt.language import Language

MAX_CHARACTERS = 100_000
"""Longest text that one command takes."""

MAX_BYTES = 4 * MAX_CHARACTERS  # no character takes more than four in UTF-8
PIPE_WIDTH = 1_000
"""Columns of a table that goes to a file or another program."""

_TOO_LONG = f"longer than {MAX_CHARACTERS:,} characters; shorten it or split it"
_ENVIRONMENT = {
    "ANONYMIZED_TELEMETRY": "False",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_VERBOSITY": "error",
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
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller: left so, the next file to be opened would take its place
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")


def require_text(text: str, name: str = "the text") -> str:
    """Return the text unchanged.

    Args:
        text: what was given.
        name: its name in the message.

    Raises:
        EmptyTextError: it is blank.
        TextTooLongError: it is longer than ``MAX_CHARACTERS``.
        InputError: it is not valid Unicode, as arguments with bytes outside UTF-8 are not.
    """
    if not text.strip():
        raise EmptyTextError(f"{name} is empty; give at least one character that is not white space")
    if len(text) > MAX_CHARACTERS:
        raise TextTooLongError(f"{name} is {_TOO_LONG}")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError(f"{name} is not valid UTF-8; give it in UTF-8")
    return text


def read_text(given: str) -> str:
    """Return the argument, or standard input if it is ``-``.

    Raises:
        InputError: it is blank, too long or not UTF-8.
    """
    if given != "-":
        return require_text(given)
    data = _standard_input().read(MAX_BYTES + 1)
    return require_text(_decode(data, "standard input"), "standard input")


def read_lines(path: str) -> list[str]:
    """Return the lines of a UTF-8 file, or of standard input if the path is ``-``; blank ones included.

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
    """Yield lines of standard input as they come; a person at a terminal is asked for each."""
    if sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty():
        while True:
            try:
                yield input(prompt).encode("utf-8", errors="surrogateescape")
            except EOFError:
                show()
                return
    while line := _standard_input().readline(MAX_BYTES + 2):
        rest = line  # what a line has beyond the limit is read and dropped, so the next read begins at the next line
        while rest and not rest.endswith(b"\n"):
            rest = _standard_input().readline(MAX_BYTES)
        yield line.rstrip(b"\r\n")


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise InputError("there is no standard input to read; give the text itself")
    return sys.stdin.buffer


def decoded_line(line: bytes) -> str:
    """Return one line as text.

    Raises:
        InputError: it is blank, too long or not UTF-8.
    """
    return require_text(_decode(line, "the line"), "the line")


def _decode(data: bytes, name: str) -> str:
    if len(data) > MAX_BYTES:
        raise TextTooLongError(f"{name} is {_TOO_LONG}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 at byte {error.start}; give it in UTF-8") from error


def show(content: RenderableType = "", *, style: str = "") -> None:
    """Print a line or a table on standard output; in a file or a pipe a table is neither cut nor padded."""
    console = _console()
    if isinstance(content, str):
        console.print(Text(printable(content), style=style), soft_wrap=True)
    elif console.is_terminal:
        console.print(content)
    else:
        for line in _unpadded_lines(content):
            console.print(Text(line), soft_wrap=True)


def show_json(value: Any) -> None:
    """Print one line of JSON on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def show_error(message: object, *, kind: str = "error") -> None:
    """Print one line on standard error."""
    line = " ".join(printable(str(message)).split())
    _console(stderr=True).print(Text(f"{kind}: {line}"), soft_wrap=True)


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
    """Put a route's output into words, in the language of the text."""
    from qwen_allinone.tools import Intent, Sentiment

    words = words_for(text)
    if isinstance(output, Sentiment):
        return f"{words['intensity']} {output.intensity:.1f} / 5"
    if isinstance(output, Intent):
        return f"{words['intent']} {output}{'' if output.accepted else words['unsure']}"
    return words["silent"] if output is None else str(output)


def show_rest(turn: "Turn", *, prompt: bool = False) -> None:
    """Print what was recalled and saved for a finished turn and, if asked for, what the model was told."""
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
    """Return the labels of the output in the language of a text."""
    from qwen_allinone.model.prompt.language import language_of

    return _WORDS[language_of(text)]


def printable(text: str) -> str:
    """Drop control characters, which could steer the terminal; line ends and tabs stay."""
    return "".join(mark for mark in text if mark in "\n\t" or unicodedata.category(mark) != "Cc")


def shortened(text: str, width: int = 60) -> str:
    """Put the text on one line of at most ``width`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"


def local_time(moment: str) -> str:
    """Format an ISO 8601 time with an offset as date, hour and minute of the local time zone."""
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M")


@contextmanager
def waiting(message: str) -> Iterator[None]:
    """Show a sign of life on standard error, for a person only."""
    console = _console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(Text(message)):
        yield


def tell(message: str) -> None:
    """Print a note on standard error, for a person only."""
    if _console(stderr=True).is_terminal:
        show_error(message, kind="note")


@contextmanager
def progress_bar(title: str, *, unit: Literal["items", "bytes"] = "items") -> Iterator[Callable[[int, int], None]]:
    """Show a bar on standard error, for a person only.

    Args:
        title: stands before the bar.
        unit: what is counted; bytes come with their speed.

    Yields:
        A function to call with the number done and the number of all.
    """
    from rich import progress

    console = _console(stderr=True)
    counted: tuple[progress.ProgressColumn, ...] = (progress.MofNCompleteColumn(),)
    if unit == "bytes":
        counted = (progress.DownloadColumn(), progress.TransferSpeedColumn())
    title_column = progress.TextColumn("{task.description}", markup=False)
    columns = (title_column, progress.BarColumn(), *counted, progress.TimeRemainingColumn())
    with progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _console(*, stderr: bool = False) -> Console:
    # Rich drops colours for NO_COLOR, but keeps bold and dim.
    styles: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
    return Console(stderr=stderr, color_system=styles, highlight=False, markup=False, emoji=False)


def _unpadded_lines(content: RenderableType) -> list[str]:
    """Render as plain lines: as wide as they are, or as ``COLUMNS`` says, without spaces at their ends."""
    width = None if os.environ.get("COLUMNS") else PIPE_WIDTH
    console = Console(width=width, color_system=None, highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(content)
    return [line.rstrip() for line in capture.get().splitlines()]
