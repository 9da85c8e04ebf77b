"""Eight chats at once: replies written together, against one after the other, and through ``generate``.

Interleaved in one run on the same weights; medians and ratios go to ``benchmarks/results/concurrency.json``.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
import typer

from benchmarks import interleaved
from benchmarks.accuracy.figure import Target
from benchmarks.interleaved import Model, Out, Precision, Rounds, Threads, result_file
from benchmarks.naive import REPLY_TOKENS
from benchmarks.random_qwen import Random, measured
from qwen_allinone.model import Message, QwenPipeline, SharedQwen
from qwen_allinone.model.langchain.pipeline import TokenPrompt

_TEXTS = (
    "今天面试没过，有点难受。",
    "周末想去爬山，带什么好？",
    "My sister is getting married in May!",
    "What should I cook for six people tonight?",
    "快递丢了，客服一直不回。",
    "睡前听点什么能放松？",
    "I finally finished my first marathon.",
    "The neighbours have been drilling since seven in the morning.",
)


def main(
    *,
    model: Model = "bundled",
    random: Random = None,
    precision: Precision = "auto",
    rounds: Rounds = 5,
    threads: Threads = 1,
    out: Out = None,
) -> None:
    """Measure, print and write the result file."""
    torch.set_num_threads(threads)
    with measured(model, random) as (name, told, options):
        qwen = SharedQwen.load(name, precision=precision)  # type: ignore[arg-type]
        ways: dict[str, Callable[[Sequence[str]], object]] = {
            "together": lambda texts: _together(qwen, texts),
            "one after the other": lambda texts: [_reply(qwen, text) for text in texts],
            "one after the other, by generate": lambda texts: [_generated(qwen, text) for text in texts],
        }
        seconds = interleaved.medians(ways, [_TEXTS], rounds=rounds, before=qwen.clear_cache)
    interleaved.report(
        out or result_file("concurrency", random),
        seconds,
        base="together",
        targets={"one after the other": Target(3)},
        model=told,
        precision=interleaved.dtype_of(qwen),
        command=f"python -m benchmarks.concurrency {options} --precision {precision} --rounds {rounds} "
        f"--threads {threads}",
        n=rounds,
        chats=len(_TEXTS),
        reply_tokens=REPLY_TOKENS,
    )


def _reply(qwen: SharedQwen, text: str) -> str:
    return qwen.generate(text, min_new_tokens=REPLY_TOKENS, max_new_tokens=REPLY_TOKENS).text


def _together(qwen: SharedQwen, texts: Sequence[str]) -> list[str]:
    with ThreadPoolExecutor(len(texts)) as pool:
        return list(pool.map(lambda text: _reply(qwen, text), texts))


def _generated(qwen: SharedQwen, text: str) -> object:
    prompt = TokenPrompt(tuple(qwen.chat.conversation([Message("user", text)])))
    return QwenPipeline(qwen)(  # type: ignore[call-overload]
        prompt, do_sample=False, min_new_tokens=REPLY_TOKENS, max_new_tokens=REPLY_TOKENS
    )


if __name__ == "__main__":
    typer.run(main)
