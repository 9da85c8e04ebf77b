"""``python -m benchmarks.accuracy``: how often the bundled model is right, next to floors and targets.

With ``--data`` also on texts from public data sets that took no part in the training.
"""

import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from benchmarks.accuracy import chats, custom_routes, retrieval, sets, shipped, stability, summaries, unseen
from benchmarks.accuracy.chats import Exchange
from benchmarks.accuracy.figure import Figure
from benchmarks.accuracy.result import Result, weights_digest
from qwen_allinone.errors import QwenAllInOneError
from qwen_allinone.memory import embeddings
from qwen_allinone.model import SharedQwen, loading
from training.embedder import retrieval_data

_VERSIONED = ("torch", "transformers", "scikit-learn")
_WIDTH = 150
"""Columns of a table that goes to a file or a pipe."""


def main(
    *,
    model: Annotated[str, typer.Option(help="Name of the model.")] = "bundled",
    data: Annotated[
        Path | None, typer.Option(help="Folder of the public data sets; without it, only the sets written for this.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Result file; the replies go beside it.")] = Path(
        "benchmarks/results/accuracy.json"
    ),
) -> None:
    """Measure, print, and write the result file and the page of replies."""
    if data is not None and not data.is_dir():
        raise typer.BadParameter(f"{data}: no such folder; give the one that holds the data sets")
    if data is not None and (missing := retrieval_data.missing(data)):
        raise typer.BadParameter(f"{data} lacks the data sets {', '.join(missing)}")
    torch.set_num_threads(1)
    console = Console()
    try:
        qwen = SharedQwen.load(model)
    except QwenAllInOneError as error:
        raise typer.BadParameter(str(error)) from error
    found = chats.exchanges(qwen)
    result = _result(model, data, _measured(qwen, found, data, console))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result.to_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (out.parent / "chats.md").write_text(chats.page(found, result.model), encoding="utf-8")
    (console if console.is_terminal else Console(width=_WIDTH)).print(result.table())
    typer.echo(f"targets: {len(result.missed)} missed of {sum(figure.met is not None for figure in result.figures)}")


def _measured(
    qwen: SharedQwen, found: Sequence[Exchange], data: Path | None, console: Console
) -> dict[str, list[Figure]]:
    """The figures of each part; those of held-out data only if there is some."""
    parts: dict[str, Callable[[], list[Figure]]] = {
        "shipped sets": lambda: shipped.figures(qwen),
        "user routes": lambda: custom_routes.figures(qwen),
        "stability": lambda: stability.figures(qwen),
        "replies": lambda: chats.figures(qwen, found),
    }
    if data is not None:
        parts["unseen data"] = lambda: unseen.figures(qwen, data)
        parts["summaries"] = lambda: summaries.figures(qwen, data)
        parts["retrieval"] = lambda: retrieval.figures(data)
    figures = {}
    for name, measure in parts.items():
        with console.status(name):
            figures[name] = measure()
    return figures


def _result(model: str, data: Path | None, parts: dict[str, list[Figure]]) -> Result:
    folder = Path(loading.resolve(model))
    name = folder.name if folder.is_dir() else model
    weights = {name: weights_digest(folder)}
    if data is not None:
        weights["embedder"] = weights_digest(embeddings.bundled_folder())
    return Result(
        model=name,
        weights=weights,
        command=f"python -m benchmarks.accuracy --model {model}{' --data DIR' if data else ''}",
        conditions={"threads": 1, **{each: version(each) for each in _VERSIONED}, "sets": sets.digests()},
        parts=parts,
    )


if __name__ == "__main__":
    typer.run(main)
