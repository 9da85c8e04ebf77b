"""The mood of many texts: many in one pass, against one text after the other.

Interleaved in one run on the same weights; medians and ratios go to ``benchmarks/results/batches.json``.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks import interleaved
from benchmarks.interleaved import Model, Rounds, Threads
from qwen_allinone.eval import LabelledSet
from qwen_allinone.model import SharedQwen
from qwen_allinone.model.language import language_of
from qwen_allinone.model.questions import Question
from qwen_allinone.tools.sentiment import mood_question

Asked = tuple[str, Mapping[str, Question]]


def main(
    *,
    model: Model = "bundled",
    rounds: Rounds = 5,
    texts: Annotated[int, typer.Option(min=1, help="The most texts, from the shipped sentiment set.")] = 1000,
    threads: Threads = 1,
    out: Annotated[Path, typer.Option(help="Result file.")] = Path("benchmarks/results/batches.json"),
) -> None:
    """Measure, print and write the result file."""
    torch.set_num_threads(threads)
    qwen = SharedQwen.load(model)
    rows = LabelledSet.shipped("sentiment").rows[:texts]
    asked: list[Asked] = [(row.text, {"mood": mood_question(language_of(row.text))}) for row in rows]
    ways: dict[str, Callable[[Sequence[Asked]], object]] = {
        "together": lambda asked: list(qwen.decide_all(asked)),
        "one by one": lambda asked: [qwen.decide(text, questions) for text, questions in asked],
    }
    seconds = interleaved.medians(ways, [asked], rounds=rounds, before=qwen.forget)
    options = f"--model {model} --rounds {rounds} --texts {texts} --threads {threads}"
    interleaved.report(
        out,
        seconds,
        base="together",
        model=model,
        command=f"python -m benchmarks.batches {options}",
        n=rounds,
        texts=len(asked),
    )


if __name__ == "__main__":
    typer.run(main)
