"""Output for a terminal, a pipe and a reader."""

import io
import sys
import time

import pytest
from rich.table import Table

from qwen_allinone.cli import terminal

ESCAPE = "\x1b"


class Screen(io.StringIO):
    """Standard output that is a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clear what the environment of the tests may say about terminals."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, content: object, style: str = "") -> str:
    """Show something on a stream in place of standard output and return what it wrote."""
    monkeypatch.setattr(sys, "stdout", stream)
    terminal.show(content, style=style)
    return stream.getvalue()


def wide_table() -> Table:
    """Make a table of 150 columns."""
    table = Table("name", "words", show_edge=False, pad_edge=False)
    table.add_row("[bold]", "x" * 140)
    table.add_row("b", "short")
    return table


def test_a_pipe_gets_whole_and_unpadded_lines(monkeypatch: pytest.MonkeyPatch):
    """A table that goes to a program is neither cut to 80 columns nor filled up with spaces, and bears no styles."""
    lines = shown(monkeypatch, io.StringIO(), wide_table()).splitlines()
    assert any("x" * 140 in line for line in lines)
    assert any(line.startswith("[bold]") for line in lines)
    assert all(line == line.rstrip() for line in lines)
    assert ESCAPE not in "".join(lines)


def test_a_pipe_is_as_wide_as_the_environment_says(monkeypatch: pytest.MonkeyPatch):
    """``COLUMNS`` is heeded, as by other programs."""
    monkeypatch.setenv("COLUMNS", "40")
    assert max(map(len, shown(monkeypatch, io.StringIO(), wide_table()).splitlines())) <= 40


def test_no_color_means_no_styles(monkeypatch: pytest.MonkeyPatch):
    """``NO_COLOR`` switches off bold and dim as well, for lines and for tables; an empty one says nothing."""
    assert ESCAPE in shown(monkeypatch, Screen(), "words", "bold")
    monkeypatch.setenv("NO_COLOR", "")
    assert ESCAPE in shown(monkeypatch, Screen(), "words", "bold")
    monkeypatch.setenv("NO_COLOR", "1")
    assert shown(monkeypatch, Screen(), "words", "bold") == "words\n"
    assert ESCAPE not in shown(monkeypatch, Screen(), wide_table())


def test_a_pipe_gets_no_styles(monkeypatch: pytest.MonkeyPatch):
    """A line that goes to a program is the line alone."""
    assert shown(monkeypatch, io.StringIO(), "words", "bold") == "words\n"


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone of a process cannot be changed here")
@pytest.mark.parametrize(
    ("zone", "expected"),
    [("Asia/Shanghai", "2026-02-01 00:30"), ("America/New_York", "2026-01-31 11:30"), ("UTC", "2026-01-31 16:30")],
)
def test_times_are_local(monkeypatch: pytest.MonkeyPatch, zone: str, expected: str):
    """A time kept in UTC is shown in the time zone of the reader."""
    with monkeypatch.context() as context:
        context.setenv("TZ", zone)
        time.tzset()
        assert terminal.local_time("2026-01-31T16:30:59.123456+00:00") == expected
    time.tzset()
