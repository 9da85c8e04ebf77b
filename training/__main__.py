"""``python -m training --data DIR --exclude benchmarks/sets``: train the bundled model, tokenizer included."""

from pathlib import Path
from typing import Annotated

import torch
import typer

from qwen_allinone.errors import DataFileError
from qwen_allinone.model.loading import bundled_folder
from training.exclusions import Exclusions
from training.recipe import train
from training.run_folder import RunFolder
from training.sizes import SHIPPED

Data = Annotated[
    Path | None,
    typer.Option(exists=True, file_okay=False, help="Folder of the public data sets; without it, written texts only."),
]
Exclude = Annotated[
    list[Path] | None,
    typer.Option(exists=True, help="File or folder of JSON lines that judge the model and must not be learned."),
]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]


def main(
    *,
    data: Data = None,
    exclude: Exclude = None,
    run: Annotated[Path, typer.Option(help="Folder of log, curves and checkpoints.")] = Path("runs/shipped"),
    out: Annotated[Path | None, typer.Option(help="Folder of the model; by default inside the package.")] = None,
    threads: Annotated[int, typer.Option(help="Parts of a step computed side by side, each by one thread.")] = 2,
    resume: Annotated[bool, typer.Option(help="Continue the training that the run folder holds.")] = False,
    seed: Seed = 0,
) -> None:
    """Train tokenizer and model, and write them in the form in which they ship."""
    torch.set_num_threads(1)
    folder = RunFolder(run)
    folder.check(resume=resume)
    train(SHIPPED, folder, data=data, exclusions=exclusions(exclude), threads=threads, resume=resume, seed=seed)
    folder.ship(out or bundled_folder())


def exclusions(paths: list[Path] | None) -> Exclusions:
    """Return everything to leave out: the package's own sets and the rows of these files."""
    try:
        return Exclusions.from_paths(paths or [])
    except DataFileError as error:
        raise typer.BadParameter(str(error)) from error


if __name__ == "__main__":
    typer.run(main)
