"""From the start of a process to its first decision, against one that only imports what every Qwen program imports.

Interleaved in fresh processes; medians and ratios go to ``benchmarks/results/first_decision.json``.
"""

from collections.abc import Callable, Mapping

import torch
import typer

from benchmarks import interleaved
from benchmarks.accuracy.figure import Target
from benchmarks.fresh_process import output_of
from benchmarks.interleaved import Model, Out, Rounds, Threads, result_file

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
    rounds: Rounds = 7,
    threads: Threads = 1,
    out: Out = None,
) -> None:
    """Measure, print and write the result file."""
    torch.set_num_threads(threads)
    ways = {name: _started(program, threads) for name, program in programs(model).items()}
    seconds = interleaved.medians(ways, [_TEXT], rounds=rounds, before=lambda: None)
    interleaved.report(
        out or result_file("first_decision"),
        seconds,
        base="imports alone",
        targets=_TARGETS,
        model=model,
        command=f"python -m benchmarks.first_decision --model {model} --rounds {rounds} --threads {threads}",
        n=rounds,
    )


def programs(model: str) -> Mapping[str, str]:
    """By name, given the text as their argument."""
    return {
        "imports alone": _IMPORTS,
        "decision": _DECISION.replace("MODEL", repr(model)),
        "decision of a tool": _TOOL.replace("MODEL", repr(model)),
    }


def _started(program: str, threads: int) -> Callable[[str], object]:
    return lambda text: output_of("-c", program, text, threads=threads)


if __name__ == "__main__":
    typer.run(main)
