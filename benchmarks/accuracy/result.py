"""Result of a run: a table for the screen, plain values for a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.accuracy.figure import Figure
from qwen_allinone.eval.tables import percent

if TYPE_CHECKING:
    from rich.table import Table

_VERDICTS = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}
_COLUMNS = ("n", "value (95 % interval)", "floor", "target", "")


@dataclass(frozen=True)
class Result:
    """Every figure of a run, with everything that it takes to get them again."""

    model: str
    weights: Mapping[str, str | None]
    """Digests of the weights of the models that took part."""
    command: str
    conditions: Mapping[str, Any]
    parts: Mapping[str, Sequence[Figure]]
    """Figures by subject."""

    @property
    def figures(self) -> list[Figure]:
        """Figures of all parts."""
        return [figure for part in self.parts.values() for figure in part]

    @property
    def missed(self) -> list[str]:
        """Names of the figures on the wrong side of their target."""
        return [figure.what for figure in self.figures if figure.met is False]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "model": self.model,
            "weights": dict(self.weights),
            "command": self.command,
            "conditions": dict(self.conditions),
            "targets": {"met": sum(figure.met is True for figure in self.figures), "missed": self.missed},
            "figures": {name: _json(part) for name, part in self.parts.items()},
        }

    def table(self) -> "Table":
        """Return a row per figure, a section per part."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        table = Table("what", *_COLUMNS, title=f"Accuracy of {self.model}", title_justify="left", box=SIMPLE_HEAD)
        for part in self.parts.values():
            for figure in part:
                table.add_row(*_cells(figure))
            table.add_section()
        return table


def weights_digest(folder: Path) -> str | None:
    """Return the SHA-256 of the weights in a folder; None if it is not there, such as one of a hub."""
    files = sorted(folder.glob("*.safetensors"))
    digest = sha256()
    for path in files:
        digest.update(path.read_bytes())
    return f"sha256:{digest.hexdigest()}" if files else None


def _json(part: Sequence[Figure]) -> list[dict[str, Any]]:
    return [figure.to_json() for figure in part]


def _cells(figure: Figure) -> tuple[str, ...]:
    floor, target = figure.floor, figure.target
    return (
        figure.what,
        f"{figure.n:,}",
        percent(figure.value) + _interval(figure),
        f"{percent(floor.value)}, {floor.what}" if floor else "",
        f"{target.sense} {percent(target.bound)}" if target else "",
        _VERDICTS[figure.met],
    )


def _interval(figure: Figure) -> str:
    return " ({:.1f} to {:.1f})".format(*(100 * bound for bound in figure.interval)) if figure.interval else ""
