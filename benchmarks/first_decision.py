"""From the start of a process to its first decision, against one that only imports what every Qwen program imports.

The int8 weights of a large model are made in a first round that does not count. Interleaved in fresh processes; medians
and ratios go to ``benchmarks/results/first_decision.json``.
"""

import tempfile
from collections.abc import Mapping
from functools import partial

import torch
import typer

from benchmarks import interleaved
from benchmarks.accuracy.figure import Target
from benchmarks.fresh_process import output_of
from benchmarks.interleaved import Model, Out, Precision, Rounds, Threads, result_file
from benchmarks.random_qwen import Random, measured

_TEXT = "The room was small, but spotless and very quiet."
_IMPORTS = "import torch; from transformers import Qwen2ForCausalLM, AutoTokenizer, pipeline"
_DECISION = """
import sys

from qwen_allinone.model import Choice, SharedQwen

mood = Choice(
    instructions="Is the mood of the text positive or negative?",
    criteria={"positive": "the writer is pleased", "negative": "the writer is displeased"},
)
print(SharedQwen.load(MODEL).decide(sys.argv[1], {"mood": mood})["mood"].option)
"""
_TOOL = """
import sys

from qwen_allinone.model import SharedQwen
from qwen_allinone.tools import SentimentTool

print(SentimentTool(qwen=SharedQwen.load(MODEL)).invoke(sys.argv[1]))
"""
_TARGETS = {"decision": Target(1.3, "at most")}


def main(
    *,
    model: Model = "bundled",
    random: Random = None,
    precision: Precision = "auto",
    rounds: Rounds = 7,
    threads: Threads = 1,
    out: Out = None,
) -> None:
    """Measure, print and write the result file."""
    torch.set_num_threads(threads)
    with measured(model, random) as (name, told, options), tempfile.TemporaryDirectory() as cache:
        ways = {
            way: partial(_started, program, threads, QWEN_ALLINONE_PRECISION=precision, QWEN_ALLINONE_CACHE=cache)
            for way, program in programs(name).items()
        }
        seconds = interleaved.medians(ways, [_TEXT], rounds=rounds, before=lambda: None)
    interleaved.report(
        out or result_file("first_decision", random),
        seconds,
        base="imports alone",
        targets={} if random else _TARGETS,
        model=told,
        precision=precision,
        command=f"python -m benchmarks.first_decision {options} --precision {precision} --rounds {rounds} "
        f"--threads {threads}",
        n=rounds,
    )


def programs(model: str) -> Mapping[str, str]:
    """By name, given the text as their argument."""
    return {
        "imports alone": _IMPORTS,
        "decision": _DECISION.replace("MODEL", repr(model)),
        "decision of a tool": _TOOL.replace("MODEL", repr(model)),
    }


def _started(program: str, threads: int, text: str, **environment: str) -> str:
    return output_of("-c", program, text, threads=threads, **environment)


if __name__ == "__main__":
    typer.run(main)
