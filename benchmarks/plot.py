"""The results of the benchmarks of speed as a picture: how many times as long each way takes, and what is aimed at.

Every file in ``benchmarks/results`` and its folders that holds ratios or megabytes is drawn into one picture,
``benchmarks/results/speed.png``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_RATIO = "ratio_to_"
_SPACES = str.maketrans("_-", "  ")
_SIGNS = {"at least": "≥", "above": ">", "at most": "≤"}
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
_MET, _MISSED, _FREE, _INK = "#2f7f6a", "#c4583f", "#9fb1c1", "#22272e"


@dataclass(frozen=True)
class Bar:
    """A figure, and what is aimed at."""

    what: str
    value: float
    target: Mapping[str, Any] | None = None
    """``bound``, ``sense`` and ``met``."""

    @property
    def colour(self) -> str:
        """By whether the target is met, if there is one."""
        return _FREE if self.target is None else _MET if self.target["met"] else _MISSED


@dataclass(frozen=True)
class Panel:
    """The bars of one result file."""

    title: str
    bars: Sequence[Bar]
    ratios: bool
    """Else gigabytes."""


def main(
    *,
    results: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of the result files.")] = Path(
        "benchmarks/results"
    ),
    out: Annotated[Path, typer.Option(help="The picture.")] = Path("benchmarks/results/speed.png"),
) -> None:
    """Draw the picture."""
    panels = [panel for path in sorted(results.rglob("*.json")) if (panel := panel_of(path)) is not None]
    if not panels:
        raise typer.BadParameter(f"nothing in {results} holds ratios or megabytes", param_hint="--results")
    draw(sorted(panels, key=lambda panel: not panel.ratios), out)


def panel_of(path: Path) -> Panel | None:
    """Read a result file; None if it holds neither ratios nor megabytes."""
    result = json.loads(path.read_text(encoding="utf-8"))
    about = f"{path.stem.translate(_SPACES)} · {result.get('model')}"
    targets = result.get("targets", {})
    if "megabytes" in result:
        aims = {start: {**target, "bound": target["bound"] / 1000} for start, target in targets.items()}
        taken = [Bar(start, each["resident"] / 1000, aims.get(start)) for start, each in result["megabytes"].items()]
        return Panel(f"{about}: resident gigabytes", taken, ratios=False)
    if "compared" in result:
        pairs = [Bar(name, ratio, targets.get(name)) for name, ratio in result["compared"].items()]
        return Panel(f"{about}: times as long", pairs, ratios=True)
    for key in result:
        if key.startswith(_RATIO):
            base = next(way for way in result[key] if way.replace(" ", "_") == key.removeprefix(_RATIO))
            bars = [Bar(way, ratio, targets.get(way)) for way, ratio in result[key].items() if way != base]
            return Panel(f"{about}: times as long as “{base}”", bars, ratios=True)
    return None


def draw(panels: Sequence[Panel], picture: Path) -> None:
    """Plot one panel below the other, those of ratios on one scale."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.patches import Patch

    rows = [len(panel.bars) + 0.2 for panel in panels]
    size = (10, 0.32 * sum(rows) + 0.55 * len(rows) + 0.6)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.08))
    values = [value for panel in panels if panel.ratios for bar in panel.bars for value in _values(bar)]
    for axes, panel in zip(figure.subplots(len(rows), 1, height_ratios=rows, squeeze=False)[:, 0], panels, strict=True):
        _draw(axes, panel)
        if panel.ratios:
            axes.set_xscale("log")
            axes.set_xticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
            axes.set_xticks([], minor=True)
            axes.set_xlim(min([1, *values]) / 2, max([1, *values]) * 2.5)
            axes.axvline(1, color=_INK, linewidth=0.8)
        else:
            axes.set_xlim(0, 1.3 * max(value for bar in panel.bars for value in _values(bar)))
    meanings = {_MET: "target met", _MISSED: "target missed", _FREE: "no target"}
    legend = [Patch(color=colour, label=meaning) for colour, meaning in meanings.items()]
    figure.legend(handles=legend, loc="outside upper right", ncols=3, frameon=False, fontsize=9)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=120)


def _values(bar: Bar) -> list[float]:
    return [bar.value, *([] if bar.target is None else [bar.target["bound"]])]


def _draw(axes: "Axes", panel: Panel) -> None:
    start, unit = (1.0, "×") if panel.ratios else (0.0, " GB")
    for place, bar in enumerate(panel.bars):
        axes.barh(place, bar.value - start, left=start, height=0.62, color=bar.colour)
        label = f"{bar.value:.3g}{unit}"
        if bar.target is not None:
            bound = bar.target["bound"]
            axes.plot([bound, bound], [place - 0.45, place + 0.45], color=_INK, linewidth=2)
            label += f"   (target {_SIGNS[bar.target['sense']]} {bound:g}{unit})"
        axes.annotate(
            label,
            (max(start, *_values(bar)), place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=_INK,
        )
    axes.set_yticks(range(len(panel.bars)), [bar.what for bar in panel.bars], fontsize=9)
    axes.set_ylim(len(panel.bars) - 0.4, -0.6)
    axes.set_title(panel.title, loc="left", fontsize=10, fontweight="bold", color=_INK)
    axes.tick_params(length=0, labelsize=8.5)
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)


if __name__ == "__main__":
    typer.run(main)
