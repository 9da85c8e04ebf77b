"""``python -m benchmarks.accuracy``: accuracy of a model, next to floors and targets.

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

from benchmarks.accuracy import cases, decisions, replies, retrieval, stability, summaries
from benchmarks.accuracy.figure import Figure
from benchmarks.accuracy.ngrams import Learned
from benchmarks.accuracy.replies import Exchange
from benchmarks.accuracy.result import Result, weights_digest
from benchmarks.retrieval import tasks
from qwen_allinone.errors import QwenAllInOneError
from qwen_allinone.memory import embedder
from qwen_allinone.model import SharedQwen, loading

_VERSIONED = ("torch", "transformers", "scikit-learn")
_WIDTH = 150
"""Columns of a table that goes to a file or a pipe."""


def main(
    *,
    model: Annotated[str, typer.Option(help="Name of the model.")] = "bundled",
    data: Annotated[
        Path | None, typer.Option(help="Folder of the public data sets; without it, only the sets written for this.")
    ] = None,
    learned: Annotated[
        Path, typer.Option(help="Texts that the bundled model learned from, as training.learned writes them.")
    ] = Path("runs/learned.jsonl"),
    out: Annotated[Path, typer.Option(help="Result file; the replies go beside it.")] = Path(
        "benchmarks/results/accuracy.json"
    ),
) -> None:
    """Measure, print, and write the result file and the page of replies."""
    texts = _learned(learned, data)
    torch.set_num_threads(1)
    console = Console()
    try:
        qwen = SharedQwen.load(model)
    except QwenAllInOneError as error:
        raise typer.BadParameter(str(error)) from error
    found = replies.exchanges(qwen)
    result = _result(model, data, _measured(qwen, found, data, texts, console))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result.to_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (out.parent / "chats.md").write_text(replies.page(found, result.model), encoding="utf-8")
    (console if console.is_terminal else Console(width=_WIDTH)).print(result.table())
    typer.echo(f"targets: {len(result.missed)} missed of {sum(figure.met is not None for figure in result.figures)}")


def _learned(path: Path, data: Path | None) -> Learned:
    """Read the texts that the floors learn from, and refuse what cannot be measured.

    Raises:
        typer.BadParameter: a data set is missing, or the texts.
    """
    if data is not None and not data.is_dir():
        raise typer.BadParameter(f"{data}: no such folder; give the one that holds the data sets")
    if data is not None and (missing := [*cases.missing(data), *tasks.missing(data)]):
        raise typer.BadParameter(f"{data} lacks the data sets {', '.join(dict.fromkeys(missing))}")
    command = f"python -m training.learned --exclude benchmarks/sets{' --data DIR' if data else ''} --out {path}"
    if not path.is_file():
        raise typer.BadParameter(f"there is no file {path}; write it by {command}")
    texts = Learned.from_file(path)
    if data is not None and not texts.public:
        raise typer.BadParameter(f"{path} lacks the texts of the public data sets; write it by {command}")
    return texts


def _measured(
    qwen: SharedQwen, found: Sequence[Exchange], data: Path | None, learned: Learned, console: Console
) -> dict[str, list[Figure]]:
    """Return the figures of each part; those of held-out data only if there is some."""
    parts: dict[str, Callable[[], list[Figure]]] = {
        "shipped sets": lambda: decisions.written_figures(qwen, learned),
        "user routes": lambda: decisions.route_figures(qwen),
        "stability": lambda: stability.figures(qwen),
        "replies": lambda: replies.figures(qwen, found, learned.replies),
    }
    if data is not None:
        parts["unseen data"] = lambda: decisions.public_figures(qwen, data, learned)
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
        weights["embedder"] = weights_digest(embedder.bundled_folder())
    return Result(
        model=name,
        weights=weights,
        command=f"python -m benchmarks.accuracy --model {model}{' --data DIR' if data else ''}",
        conditions={"threads": 1, **{each: version(each) for each in _VERSIONED}, "sets": cases.digests()},
        parts=parts,
    )


if __name__ == "__main__":
    typer.run(main)
