"""Ten turns of a conversation: how long the first token takes in each, and how many tokens are read for it.

The same once more by a model that keeps nothing of what it read (``cache_bytes`` is 0). What is timed is a reply of one
token; then a reply of the usual length is written, with which the conversation goes on. Medians and ratios go to
``benchmarks/results/conversation.json``.
"""

from collections.abc import Mapping, Sequence

import torch
import typer

from benchmarks import interleaved
from benchmarks.accuracy.figure import Target
from benchmarks.interleaved import Model, Out, Precision, Rounds, Stopwatch, Threads, result_file
from benchmarks.naive import REPLY_TOKENS
from benchmarks.random_qwen import Random, measured
from qwen_allinone.model import Message, SharedQwen

_TEXTS = (
    "I have been awake since four this morning.",
    "My sister is getting married and I have to give a speech.",
    "I have never spoken in front of so many people.",
    "She wants me to tell the story of the boat.",
    "We were nine and it sank in the middle of the lake.",
    "Our father laughed so much that he fell in too.",
    "Should I begin with that story or end with it?",
    "How long should such a speech be?",
    "And what if I forget what comes next?",
    "Thank you, I think that I can sleep now.",
)
_TARGETS = {f"turn {len(_TEXTS)}": Target(2, "at most")}


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
        read, seconds = measure(qwen, _TEXTS, rounds=rounds, reply_tokens=REPLY_TOKENS)
    last = len(_TEXTS)
    interleaved.report(
        out or result_file("conversation", random),
        {name: seconds[name] for name in ("turn 1", f"turn {last}", f"turn {last}, nothing kept")},
        base="turn 1",
        targets=_TARGETS,
        model=told,
        precision=interleaved.dtype_of(qwen),
        command=f"python -m benchmarks.conversation {options} --precision {precision} --rounds {rounds} "
        f"--threads {threads}",
        n=rounds,
        reply_tokens=REPLY_TOKENS,
        tokens_read=read,
        first_token_ms={name: round(value * 1000, 2) for name, value in seconds.items()},
    )


def measure(
    qwen: SharedQwen, texts: Sequence[str], *, rounds: int, reply_tokens: int
) -> tuple[Mapping[str, int], Mapping[str, float]]:
    """By turn: tokens that are read for the first token, and median seconds until it is there.

    Args:
        qwen: the model that keeps what it reads.
        texts: what the user says, turn by turn.
        rounds: besides a first one that does not count.
        reply_tokens: written in each turn.
    """
    forgetful = SharedQwen.from_model(qwen.local.model, qwen.local.tokenizer, capabilities=qwen.capabilities)
    forgetful.local.prefix_cache.max_bytes = 0
    read: dict[str, int] = {}
    watch = Stopwatch()
    for number in range(rounds + 1):
        if number == 1:
            watch.reset()
        qwen.clear_cache()
        history: list[Message] = []
        for turn, text in enumerate(texts, start=1):
            for name, model in ((f"turn {turn}", qwen), (f"turn {turn}, nothing kept", forgetful)):
                before = model.local.prefix_cache.statistics.reused_tokens
                with watch.running(name):
                    reply = model.generate(text, history=history, min_new_tokens=1, max_new_tokens=1)
                read[name] = reply.prompt_tokens - (model.local.prefix_cache.statistics.reused_tokens - before)
            reply = qwen.generate(text, history=history, min_new_tokens=reply_tokens, max_new_tokens=reply_tokens)
            history += [Message("user", text), Message("assistant", reply.text)]
    return read, watch.medians()


if __name__ == "__main__":
    typer.run(main)
