"""``python -m benchmarks.accuracy.pages``: put what was measured into the tables of the READMEs and of the model card.

A row belongs to the figure whose name it begins with. What the pages say about the figures is left to their writers.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from qwen_allinone.eval.metrics import Proportion
from qwen_allinone.eval.tables import interval, percent

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks/results"
CARD = ROOT / "qwen_allinone/model/bundled/README.md"
PAGES = (ROOT / "README.md", ROOT / "README.zh-CN.md", CARD)
_NAMES = {"**": "", "route (one of four)": "route", "路由（四选一）": "route", "情绪": "mood"}
"""What a page calls a figure, where it is not by its name."""
_FLOORS = {"n-grams and logistic regression": "n-grams"}
_SAMPLES = ("| prompt | given memory | reply |", "|---|---|---|")
_SAMPLE = re.compile(r"^\| \d+ \* \| (?P<prompt>.*?) \| (?P<memory>.*?) \| (?:yes)? \| (?P<reply>.*) \|$", re.MULTILINE)
_PLAIN, _JUDGED = 5, 6
"""Cells of a row without and with a target."""


def main() -> None:
    """Rewrite the pages from the result files."""
    for path in PAGES:
        path.write_text(rewritten(path.read_text(encoding="utf-8")), encoding="utf-8")


def rewritten(page: str) -> str:
    """The page with the figures and the sampled replies of the result files."""
    result = json.loads((RESULTS / "accuracy.json").read_text(encoding="utf-8"))
    figures = {figure["what"]: figure for part in result["figures"].values() for figure in part}
    return _with_samples("\n".join(_row(line, figures) for line in page.split("\n")))


def _row(line: str, figures: Mapping[str, Any]) -> str:
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    name = cells[0]
    for written, meant in _NAMES.items():
        name = name.replace(written, meant)
    if not line.startswith("|") or name not in figures or len(cells) not in (_PLAIN, _JUDGED):
        return line
    figure, judged = figures[name], len(cells) == _JUDGED
    share = Proportion(round(figure["value"] * figure["n"]), figure["n"])  # the file's values are rounded
    measured = [percent(share.value), interval(share)] if figure["interval"] else [percent(figure["value"]), ""]
    row = [cells[0], f"{figure['n']:,}", *measured, _floor(figure["floor"], named=judged)]
    return f"| {' | '.join([*row, _target(figure)] if judged else row)} |"


def _floor(floor: Mapping[str, Any] | None, *, named: bool) -> str:
    if floor is None:
        return ""
    return percent(floor["value"]) + (f" ({_FLOORS.get(floor['what'], floor['what'])})" if named else "")


def _target(figure: Mapping[str, Any]) -> str:
    if figure["target"] is None:
        return ""
    sense, bound = figure["target"].rsplit(" ", 1)
    return f"{sense} {percent(float(bound))}: {'met' if figure['met'] else 'missed'}"


def _with_samples(page: str) -> str:
    head = "\n".join(_SAMPLES) + "\n"
    before, found, after = page.partition(head)
    if not found:
        return page
    chats = (RESULTS / "chats.md").read_text(encoding="utf-8")
    rows = [f"| {each['prompt']} | {each['memory']} | {each['reply']} |\n" for each in _SAMPLE.finditer(chats)]
    return before + head + "".join(rows) + after[after.index("\n\n") + 1 :]


if __name__ == "__main__":
    typer.run(main)
