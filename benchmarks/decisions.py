"""Route and mood: packed on one reading, against one reading per option, against two generated answers.

Interleaved in one run on the same weights; medians and ratios go to ``benchmarks/results/decisions.json``.
"""

from collections.abc import Callable

import torch
import typer

from benchmarks import interleaved
from benchmarks.interleaved import Model, Out, Rounds, Threads, result_file
from qwen_allinone.model import SharedQwen
from qwen_allinone.model.decisions.questions import Question, render_question
from qwen_allinone.model.prompt.language import language_of
from qwen_allinone.router import builtin_routes, route_question
from qwen_allinone.tools.sentiment import mood_question

_TEXTS = (
    "前台办理入住很快，房间也安静，就是早餐品种少了点。",
    "麻烦把明天上午十点的会议改到下午三点，并通知所有人。",
    "The parcel came a day early and everything inside was intact, so I will order here again.",
    "Could you explain in simple words why the sky turns red in the evening?",
)


def main(
    *,
    model: Model = "bundled",
    rounds: Rounds = 7,
    threads: Threads = 1,
    out: Out = None,
) -> None:
    """Measure, print and write the result file."""
    torch.set_num_threads(threads)
    qwen = SharedQwen.load(model)
    ways: dict[str, Callable[[str], object]] = {
        "packed": lambda text: qwen.loglikelihoods(text, _questions(text)),
        "one by one": lambda text: qwen.loglikelihoods(text, _questions(text), packed=False),
        "generated": lambda text: _generated(qwen, text),
    }
    seconds = interleaved.medians(ways, _TEXTS, rounds=rounds, before=qwen.clear_cache)
    interleaved.report(
        out or result_file("decisions"),
        seconds,
        base="packed",
        model=model,
        command=f"python -m benchmarks.decisions --model {model} --rounds {rounds} --threads {threads}",
        n=len(_TEXTS) * rounds,
    )


def _questions(text: str) -> dict[str, Question]:
    language = language_of(text)
    return {"route": route_question(builtin_routes(), language), "mood": mood_question(language)}


def _generated(qwen: SharedQwen, text: str) -> None:
    for question in _questions(text).values():
        context = render_question(question, language_of(text)).text
        qwen.generate(text, context=context, min_new_tokens=8, max_new_tokens=8)


if __name__ == "__main__":
    typer.run(main)
