"""What a process takes that has one model in memory and talks with somebody; ``benchmarks.memory`` starts it."""

import json
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.interleaved import Model, Precision
from qwen_allinone.model import Message, SharedQwen
from qwen_allinone.model.prompt.language import language_of
from qwen_allinone.tools.sentiment import mood_question

_TEXT = (
    "I ordered the blue kettle two weeks ago and paid extra for delivery by Friday, because my parents were coming to "
    "stay and the old one leaks. "
)
_REPLY_TOKENS, _AROUND_A_TURN = 16, 16
STATUS = Path("/proc/self/status")
_FIELDS = {"resident": "VmRSS", "anonymous": "RssAnon", "peak": "VmHWM"}
"""In the status. What is resident without being anonymous are files that the system may drop."""


def main(
    *,
    model: Model = "bundled",
    precision: Precision = "auto",
    turns: Annotated[int, typer.Option(min=1, help="Turns of the conversation.")] = 10,
    tokens: Annotated[int, typer.Option(help="Of the conversation at its end, as far as the window reaches.")] = 2000,
) -> None:
    """Load, talk and print megabytes as JSON."""
    imported = megabytes()["resident"]
    qwen = SharedQwen.load(model, precision=precision)  # type: ignore[arg-type]
    loaded = megabytes()["resident"]
    context = talk(qwen, turns=turns, tokens=min(tokens, qwen.context_window))
    print(json.dumps({"context_tokens": context, "imported": imported, "loaded": loaded, **megabytes()}))


def talk(qwen: SharedQwen, *, turns: int, tokens: int) -> int:
    """Hold a conversation, the mood of each turn decided and answered; tells how many tokens it has in the end."""
    share = tokens // turns - _REPLY_TOKENS - _AROUND_A_TURN
    text = qwen.chat.decode(list(islice(cycle(qwen.chat.encode(_TEXT)), share)))
    history: list[Message] = []
    for _ in range(turns):
        qwen.decide(text, {"mood": mood_question(language_of(text))}, history=history)
        reply = qwen.generate(text, history=history, min_new_tokens=_REPLY_TOKENS, max_new_tokens=_REPLY_TOKENS)
        history += [Message("user", text), Message("assistant", reply.text)]
    return reply.prompt_tokens + reply.completion_tokens


def megabytes() -> dict[str, float]:
    """Return the memory of this process now, and the most that it took."""
    lines = STATUS.read_text(encoding="ascii").splitlines()
    kibibytes = {name: value.split()[0] for name, _, value in (line.partition(":") for line in lines) if value.strip()}
    return {name: round(int(kibibytes[field]) * 1024 / 1e6, 1) for name, field in _FIELDS.items()}


if __name__ == "__main__":
    typer.run(main)
