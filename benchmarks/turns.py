"""A turn of a conversation: ours in fp32 and int8, against the naive program, on the same weights.

Interleaved in one run; medians and ratios go to ``benchmarks/results/turns.json``.
"""

from collections.abc import Callable

import torch
import typer

from benchmarks import interleaved
from benchmarks.accuracy.figure import Target
from benchmarks.interleaved import Model, Out, Rounds, Threads, result_file
from benchmarks.naive import REPLY_TOKENS, NaivePipeline, NaiveQwen
from benchmarks.random_qwen import Random, measured
from qwen_allinone.model import Calibration, Question, SharedQwen
from qwen_allinone.model.prompt.language import language_of
from qwen_allinone.router import builtin_routes, route_question
from qwen_allinone.tools import IntentTool
from qwen_allinone.tools.sentiment import mood_question

TEXT = (
    "I ordered the blue kettle two weeks ago and paid extra for delivery by Friday, because my parents were coming to "
    "stay and the old one leaks. On Friday nothing came, on Saturday the tracking page said that it had been "
    "delivered, and on Monday a neighbour found the box in the rain behind the bins. The kettle itself works, I will "
    "say that, and the young man on the phone was friendly, but nobody has answered my question about the delivery "
    "fee. I do not want another voucher, I would simply like to have that money back, and to know that it will not "
    "happen again."
)
_COMPARED = {
    "naive turn over turn, fp32": ("naive turn, fp32", "turn, fp32"),
    "naive turn over turn, int8": ("naive turn, fp32", "turn, int8"),
    "naive route and mood over ours, fp32": ("naive route and mood, fp32", "route and mood, fp32"),
    "naive route and mood over ours, int8": ("naive route and mood, fp32", "route and mood, int8"),
    "turn over its reply alone, fp32": ("turn, fp32", "reply alone, fp32"),
    "turn over its reply alone, int8": ("turn, int8", "reply alone, int8"),
}
_TARGETS = {
    "naive turn over turn, fp32": Target(1.4),
    "naive turn over turn, int8": Target(4),
    "naive route and mood over ours, int8": Target(8),
    "turn over its reply alone, fp32": Target(1.03, "at most"),
    "turn over its reply alone, int8": Target(1.07, "at most"),
}


def main(
    *,
    model: Model = "bundled",
    random: Random = None,
    rounds: Rounds = 5,
    threads: Threads = 1,
    out: Out = None,
) -> None:
    """Measure, print and write the result file."""
    torch.set_num_threads(threads)
    with measured(model, random) as (name, told, options):
        exact, rounded = SharedQwen.load(name, precision="fp32"), SharedQwen.load(name, precision="int8")
        seconds = interleaved.medians(_ways(exact, rounded), [TEXT], rounds=rounds, before=_forget(exact, rounded))
    interleaved.report(
        out or result_file("turns", random),
        seconds,
        base="turn, int8",
        compared=_COMPARED,
        targets=_TARGETS,
        model=told,
        command=f"python -m benchmarks.turns {options} --rounds {rounds} --threads {threads}",
        n=rounds,
        text_tokens=len(exact.chat.encode(TEXT)),
        reply_tokens=REPLY_TOKENS,
    )


def _ways(exact: SharedQwen, rounded: SharedQwen) -> dict[str, Callable[[str], object]]:
    naive = NaiveQwen(exact.local.model, exact.local.tokenizer)
    ways: dict[str, Callable[[str], object]] = {
        "naive turn, fp32": naive.turn,
        "naive turn through a pipeline, fp32": NaivePipeline(exact.local.model, exact.local.tokenizer).turn,
        "naive route and mood, fp32": naive.decide,
    }
    for numbers, qwen in (("fp32", exact), ("int8", rounded)):
        ways |= {
            f"reply alone, {numbers}": _turn(qwen, ()),
            f"turn, {numbers}": _turn(qwen, ("route", "mood", "intent")),
            f"route and mood, {numbers}": _decisions(qwen),
        }
    return ways | {"turn with all corrections, int8": _turn(rounded, ("route", "mood", "intent"), corrected=True)}


def _turn(qwen: SharedQwen, asked: tuple[str, ...], *, corrected: bool = False) -> Callable[[str], object]:
    calibration = Calibration(prior=corrected, permutations=4 if corrected else 1)

    def turn(text: str) -> None:
        if asked:
            qwen.decide(text, {name: _questions(text)[name] for name in asked}, calibration=calibration)
        qwen.generate(text, min_new_tokens=REPLY_TOKENS, max_new_tokens=REPLY_TOKENS)

    return turn


def _decisions(qwen: SharedQwen) -> Callable[[str], object]:
    return lambda text: qwen.decide(
        text, {name: _questions(text)[name] for name in ("route", "mood")}, calibration=Calibration()
    )


def _questions(text: str) -> dict[str, Question]:
    language = language_of(text)
    return {
        "route": route_question(builtin_routes(), language),
        "mood": mood_question(language),
        "intent": IntentTool.question(language),
    }


def _forget(*models: SharedQwen) -> Callable[[], None]:
    def forget() -> None:
        for qwen in models:
            qwen.clear_cache()

    return forget


if __name__ == "__main__":
    typer.run(main)
