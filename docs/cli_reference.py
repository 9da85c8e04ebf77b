"""Write the reference part of ``cli.md`` from what ``--help`` really prints: ``python docs/cli_reference.py``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command
from typer.testing import CliRunner

from qwen_allinone.cli import app

PAGE = Path(__file__).with_name("cli.md")
START, END = "<!-- reference: start -->", "<!-- reference: end -->"
_PROGRAM = "qwen-allinone"
_WIDTH = 100


def reference() -> str:
    """Every command's help, in the order in which they are listed."""
    return "\n\n".join(_section(path) for path in command_paths(get_command(app)))


def command_paths(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words that lead to each command, groups included, beginning with none for the program itself."""
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from command_paths(inner, (*path, name))


def written() -> str:
    """Return the reference part as it stands in the page."""
    return PAGE.read_text(encoding="utf-8").partition(START)[2].partition(END)[0].strip()


def write() -> None:
    """Replace the reference part of the page."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    after = rest.partition(END)[2]
    page = f"{before}{START}\n\n{reference()}\n\n{END}{after}"
    PAGE.write_text(page, encoding="utf-8", newline="\n")


def _section(path: tuple[str, ...]) -> str:
    words = " ".join((_PROGRAM, *path))
    result = CliRunner().invoke(app, [*path, "--help"], prog_name=_PROGRAM, terminal_width=_WIDTH)
    lines = "\n".join(line.rstrip() for line in result.stdout.strip().split("\n"))
    return f"### {words}\n\n```text\n{lines}\n```"


if __name__ == "__main__":
    write()
