"""A picture of the course of a training."""

import json
from pathlib import Path

_COLOURS = 10
"""Colours of matplotlib's cycle."""
_STYLES = ("-", "--", ":")


def draw(log: Path, picture: Path) -> None:
    """Plot loss and held-out figures of a log against the tokens seen.

    Args:
        log: JSON lines with ``tokens`` and ``loss``, ``accuracy`` or ``reply cost``.
        picture: where the PNG goes.
    """
    from matplotlib.figure import Figure

    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    figure = Figure(figsize=(10, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    losses = [entry for entry in entries if "loss" in entry]
    above.plot([entry["tokens"] / 1e6 for entry in losses], [entry["loss"] for entry in losses], color="black")
    above.set_ylabel("loss")
    replied = [entry for entry in entries if "reply cost" in entry]
    for name in replied[-1]["reply cost"] if replied else ():
        costs = [(entry["tokens"] / 1e6, entry["reply cost"][name]) for entry in replied]
        above.plot(*zip(*costs, strict=True), label=f"held-out reply, {name}", marker=".", linestyle="--")
    if replied:
        above.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    checks = [entry for entry in entries if "accuracy" in entry]
    names = set().union(*(entry["accuracy"] for entry in checks))
    for index, name in enumerate(sorted(names)):
        told = [entry for entry in checks if name in entry["accuracy"]]
        points = [(entry["tokens"] / 1e6, float(entry["accuracy"][name].split()[0])) for entry in told]
        style = _STYLES[index // _COLOURS % len(_STYLES)]
        below.plot(*zip(*points, strict=True), label=name, marker=".", linewidth=1, linestyle=style)
    below.set_ylabel("held-out accuracy")
    below.set_xlabel("million tokens")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    if checks:
        below.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(picture, dpi=110)
