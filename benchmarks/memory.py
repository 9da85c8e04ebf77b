"""Memory of a process that talks with somebody, in fp32 and in int8.

Each is a fresh process. In int8 there are two: the first start makes the int8 weights from the fp32 ones, and every
later one reads them from where they are kept. Results go to ``benchmarks/results/memory.json``.
"""

import json
import tempfile
from typing import Annotated, Any

import torch
import typer

from benchmarks import interleaved, resident
from benchmarks.accuracy.figure import Target
from benchmarks.fresh_process import output_of
from benchmarks.interleaved import Model, Out, Threads, result_file
from benchmarks.random_qwen import Random, measured

_STARTS = {"fp32": "fp32", "int8, first start": "int8", "int8": "int8"}
_TARGETS = {"int8": Target(1400, "at most")}
"""Megabytes of a model of the 0.5B shape."""


def main(
    *,
    model: Model = "bundled",
    random: Random = None,
    turns: Annotated[int, typer.Option(min=1, help="Turns of the conversation.")] = 10,
    tokens: Annotated[int, typer.Option(help="Of the conversation at its end, as far as the window reaches.")] = 2000,
    threads: Threads = 1,
    out: Out = None,
) -> None:
    """Measure, print and write the result file; on Linux, which alone tells a process what it takes."""
    if not resident.STATUS.exists():
        print(f"memory is not measured: there is no {resident.STATUS}")
        raise typer.Exit
    torch.set_num_threads(threads)
    given = ("--turns", str(turns), "--tokens", str(tokens))
    with measured(model, random) as (name, told, options), tempfile.TemporaryDirectory() as cache:
        found = {
            start: _taken("--model", name, "--precision", precision, *given, threads=threads, cache=cache)
            for start, precision in _STARTS.items()
        }
    interleaved.record(
        out or result_file("memory", random),
        model=told,
        command=f"python -m benchmarks.memory {options} {' '.join(given)} --threads {threads}",
        n=1,
        turns=turns,
        conditions=interleaved.conditions(),
        context_tokens={start: taken.pop("context_tokens") for start, taken in found.items()},
        megabytes=found,
        **interleaved.judged({start: taken["resident"] for start, taken in found.items()}, _TARGETS if random else {}),
    )


def _taken(*options: str, threads: int, cache: str) -> dict[str, Any]:
    printed = output_of("-m", "benchmarks.resident", *options, threads=threads, QWEN_ALLINONE_CACHE=cache)
    found: dict[str, Any] = json.loads(printed)
    return found


if __name__ == "__main__":
    typer.run(main)
