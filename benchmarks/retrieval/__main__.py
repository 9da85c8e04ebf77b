"""``python -m benchmarks.retrieval --data DIR``: recall at 5 of an embedder, of BM25, and of both together."""

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.retrieval import tasks
from benchmarks.retrieval.recall import table
from qwen_allinone.memory.embedder import bundled_folder

Data = Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of the public data sets.")]


def main(
    *,
    data: Data,
    embedder: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Its folder; by default the bundled one.")
    ] = None,
) -> None:
    """Print a table of what measures the embedder, and one of what its recipe was chosen on."""
    check(data)
    folder = embedder or bundled_folder()
    for name, found in (("measured on", tasks.measured_on(data)), ("chosen on", tasks.chosen_on(data))):
        print(f"{name}\n\n{table(found, folder)}\n", flush=True)


def check(data: Path) -> None:
    """Refuse a folder that lacks data sets.

    Raises:
        typer.BadParameter: with their names.
    """
    if missing := tasks.missing(data):
        raise typer.BadParameter(f"{data} lacks the data sets {', '.join(missing)}")


if __name__ == "__main__":
    typer.run(main)
