"""Many threads at one model: what the tests of its parts share."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from tiny_qwen import ENGLISH, TEXT

from qwen_allinone.model import SharedQwen
from qwen_allinone.model.reply_batch import ReplyBatch

TEXTS = [TEXT, ENGLISH, "大家都很高兴。" * 12, "What?", "今天是星期三", "The whole team is happy today. " * 5]


@contextmanager
def passes(qwen: SharedQwen, told: Callable[[int], object] = lambda _: None) -> Iterator[list[int]]:
    """The rows of every forward pass."""
    rows: list[int] = []

    def note(_module: Any, _arguments: Any, options: dict[str, Any]) -> None:
        rows.append(len(options["input_ids"]))
        told(len(rows))

    hook = qwen.local.model.base_model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield rows
    finally:
        hook.remove()


def under_way(qwen: SharedQwen, text: str = "今天是星期三", **options: Any) -> Any:
    """A long reply of which the first piece is there."""
    stream = qwen.stream(text, **{"min_new_tokens": 300, "max_new_tokens": 300} | options)
    next(stream)
    return stream


def batch_of(qwen: SharedQwen) -> ReplyBatch:
    """Where its replies are written together."""
    batch = qwen._writer._batch
    assert batch is not None
    return batch


def asked_together(
    qwen: SharedQwen, pool: ThreadPoolExecutor, asked: list[tuple[str, dict[str, Any]]]
) -> list[Future[Any]]:
    """Decisions of several threads that all wait for the model before it is free for any of them."""
    with qwen._lock:
        decisions = [pool.submit(qwen.decide, text, questions) for text, questions in asked]
        while len(qwen._lock._waiting) < len(asked):
            threading.Event().wait(0.001)
    return decisions
