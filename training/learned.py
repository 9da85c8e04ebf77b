"""``python -m training.learned``: write the texts that the model learns from, to compare it with simpler classifiers.

Each line is a JSON object: ``text``, ``origin`` (``written`` for this project, or ``public``), ``routes``, ``mood`` and
``reply``, null where it is not known.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from training import grammar
from training.__main__ import Data, Exclude, Seed, exclusions
from training.public_sets import VALIDATION_SHARE, public
from training.sources import Source, hold_out
from training.written import written


def main(
    *,
    out: Annotated[Path, typer.Option(help="File of JSON lines.")],
    data: Data = None,
    exclude: Exclude = None,
    seed: Seed = 0,
) -> None:
    """Write one line for each labelled text that may be trained on."""
    by_hand = exclusions(exclude).applied_to([*written(), *grammar.drawn(seed=seed)])
    sets, _ = hold_out(public(data) if data else [], VALIDATION_SHARE)
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8") as file:
        for origin, sources in (("public", sets), ("written", by_hand)):
            for source in sources:
                file.writelines(_lines(source, origin))


def _lines(source: Source, origin: str) -> list[str]:
    lines = []
    for item in source.items:
        row = {"text": item.text, "origin": origin, "routes": item.routes, "mood": item.mood, "reply": item.reply}
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    return lines


if __name__ == "__main__":
    typer.run(main)
