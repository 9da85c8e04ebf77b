"""The mood of many texts: many in one pass, against one after the other, and against answers that are generated.

The shipped texts and, where more are asked for, pairs of them: no text occurs twice. Generated answers come from the
naive program, in fp32. Interleaved in one run on the same weights; medians and ratios go to
``benchmarks/results/batches.json``.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Annotated

import torch
import typer

from benchmarks import interleaved
from benchmarks.accuracy.figure import Target
from benchmarks.interleaved import Model, Out, Precision, Rounds, Threads, result_file
from benchmarks.naive import ANSWER_TOKENS, BATCH, NaiveBatches, NaiveQwen
from benchmarks.random_qwen import Random, measured
from qwen_allinone.eval import LabelledSet
from qwen_allinone.model import Choice, SharedQwen
from qwen_allinone.model.prompt.language import language_of
from qwen_allinone.tools.sentiment import mood_question

_GENERATED, _BATCHED = "generated, one by one", f"generated, batches of {BATCH}"
_TARGETS = {_GENERATED: Target(10), _BATCHED: Target(3.5)}


def main(
    *,
    model: Model = "bundled",
    random: Random = None,
    precision: Precision = "auto",
    rounds: Rounds = 5,
    texts: Annotated[int, typer.Option(min=1, help="How many texts.")] = 1000,
    threads: Threads = 1,
    out: Out = None,
) -> None:
    """Measure, print and write the result file."""
    torch.set_num_threads(threads)
    shipped = [row.text for row in LabelledSet.builtin("sentiment").rows]
    asked = distinct(shipped, texts)
    with measured(model, random) as (name, told, options):
        qwen = SharedQwen.load(name, precision=precision)  # type: ignore[arg-type]
        exact = SharedQwen.load(name, precision="fp32")
        seconds = interleaved.medians(_ways(qwen, exact), [asked], rounds=rounds, before=qwen.clear_cache)
    interleaved.report(
        out or result_file("batches", random),
        seconds,
        base="together",
        targets=_TARGETS,
        model=told,
        precision=interleaved.dtype_of(qwen),
        command=f"python -m benchmarks.batches {options} --precision {precision} --rounds {rounds} --texts {texts} "
        f"--threads {threads}",
        n=rounds,
        texts=len(asked),
        of_them_pairs=max(0, len(asked) - len(shipped)),
        answer_tokens=ANSWER_TOKENS,
    )


def distinct(texts: Sequence[str], count: int) -> list[str]:
    """So many texts, none of them twice: those given, then each with the next of its language, the one after, ..."""
    languages = [language_of(text) for text in texts]
    pairs = (
        f"{text}\n{texts[(place + step) % len(texts)]}"
        for step in range(1, len(texts))
        for place, text in enumerate(texts)
        if languages[place] == languages[(place + step) % len(texts)]
    )
    return [*texts[:count], *islice(pairs, max(0, count - len(texts)))]


def _ways(qwen: SharedQwen, exact: SharedQwen) -> dict[str, Callable[[Sequence[str]], object]]:
    naive, batches = (
        NaiveQwen(exact.local.model, exact.local.tokenizer),
        NaiveBatches(exact.local.model, exact.local.tokenizer),
    )
    return {
        "together": lambda texts: list(qwen.decide_all((text, _asked(text)) for text in texts)),
        "one by one": lambda texts: [qwen.decide(text, _asked(text)) for text in texts],
        _GENERATED: lambda texts: [naive.mood(text) for text in texts],
        _BATCHED: batches.moods,
    }


def _asked(text: str) -> dict[str, Choice]:
    return {"mood": mood_question(language_of(text))}


if __name__ == "__main__":
    typer.run(main)
