"""Times of several ways to do the same, taken in turn, so that a noisy machine disturbs all of them alike."""

import json
import platform
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
import typer

from benchmarks.accuracy.figure import Target
from qwen_allinone.model import SharedQwen

T = TypeVar("T")
Model = Annotated[str, typer.Option(help="Name of the model.")]
Precision = Annotated[str, typer.Option(help="In which numbers it computes.")]
Rounds = Annotated[int, typer.Option(min=5, help="Passes over the inputs; medians are over these.")]
Threads = Annotated[int, typer.Option(help="Threads for torch.")]
Out = Annotated[
    Path | None, typer.Option(help="Result file; by default NAME.json in benchmarks/results, or its folder 0.5B.")
]
"""Options of the benchmarks of speed."""
RESULTS = Path("benchmarks/results")


def result_file(name: str, random: Path | None = None) -> Path:
    """Where a benchmark's result goes, unless the caller says otherwise; those of the 0.5B shape have a folder."""
    return (RESULTS / "0.5B" if random else RESULTS) / f"{name}.json"


class Stopwatch:
    """Seconds by name."""

    def __init__(self) -> None:
        self._seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def running(self, name: str) -> Iterator[None]:
        """Measure what is done meanwhile."""
        start = time.perf_counter()
        yield
        self._seconds[name].append(time.perf_counter() - start)

    def reset(self) -> None:
        """Forget what was measured."""
        self._seconds.clear()

    def medians(self) -> dict[str, float]:
        """By name, in the order in which they were first measured."""
        return {name: statistics.median(values) for name, values in self._seconds.items()}


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
    watch = Stopwatch()
    for number in range(rounds + 1):
        if number == 1:
            watch.reset()
        for each in inputs:
            for name, way in ways.items():
                before()
                with watch.running(name):
                    way(each)
    return watch.medians()


def report(
    out: Path,
    seconds: Mapping[str, float],
    *,
    base: str,
    compared: Mapping[str, tuple[str, str]] | None = None,
    targets: Mapping[str, Target] | None = None,
    **told: Any,
) -> None:
    """Print and write the medians, their ratios to one of them, and those of other pairs.

    Args:
        out: the result file.
        seconds: medians by way.
        base: the way that the others are compared with.
        compared: by name, two ways; how many times as long the first takes as the second is told too.
        targets: what is aimed at for some of the ratios, of either kind.
        **told: model, command and numbers.
    """
    ratios = {name: round(value / seconds[base], 2) for name, value in seconds.items()}
    pairs = {name: round(seconds[one] / seconds[other], 2) for name, (one, other) in (compared or {}).items()}
    record(
        out,
        **told,
        conditions=conditions(),
        median_ms={name: round(value * 1000, 2) for name, value in seconds.items()},
        **{f"ratio_to_{base.replace(' ', '_')}": ratios},
        **({"compared": pairs} if pairs else {}),
        **judged(ratios | pairs, targets or {}),
    )


def conditions() -> dict[str, Any]:
    """Of the process that measures."""
    return {"machine": platform.machine(), "threads": torch.get_num_threads(), "torch": torch.__version__}


def dtype_of(qwen: SharedQwen) -> str:
    """Return the dtype that a model in memory computes in."""
    return "unknown" if qwen.quantization is None else qwen.quantization.dtype


def judged(figures: Mapping[str, float], targets: Mapping[str, Target]) -> dict[str, Any]:
    """Return the targets, and whether each is met; nothing where there are none."""
    found = {name: asdict(target) | {"met": target.met_by(figures[name])} for name, target in targets.items()}
    return {"targets": found} if found else {}


def record(out: Path, **result: Any) -> None:
    """Print and write a result file."""
    text = json.dumps(result, indent=2)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text + "\n", encoding="utf-8")
    print(text)
