"""Times of several ways to do the same, taken in turn, so that a noisy machine disturbs all of them alike."""

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
import typer

T = TypeVar("T")
Model = Annotated[str, typer.Option(help="Name of the model.")]
Rounds = Annotated[int, typer.Option(min=5, help="Passes over the inputs; medians are over these.")]
Threads = Annotated[int, typer.Option(help="Threads for torch.")]
"""Options of the benchmarks of speed."""


def medians(
    ways: Mapping[str, Callable[[T], object]], inputs: Sequence[T], *, rounds: int, before: Callable[[], None]
) -> dict[str, float]:
    """Median seconds of each way.

    Args:
        ways: what is timed.
        inputs: each way is given each of them in every round.
        rounds: besides a first one that does not count.
        before: called before each measurement.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for each in inputs:
            for name, way in ways.items():
                before()
                start = time.perf_counter()
                way(each)
                if number:
                    seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def report(out: Path, seconds: Mapping[str, float], *, base: str, **told: Any) -> None:
    """Print and write the medians, and their ratios to one of them.

    Args:
        out: the result file.
        seconds: medians by way.
        base: the way that the others are compared with.
        **told: model, command and numbers.
    """
    result = {
        **told,
        "conditions": {
            "machine": platform.machine(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        },
        "median_ms": {name: round(value * 1000, 2) for name, value in seconds.items()},
        f"ratio_to_{base.replace(' ', '_')}": {
            name: round(value / seconds[base], 2) for name, value in seconds.items()
        },
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))
