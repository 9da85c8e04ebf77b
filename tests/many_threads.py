"""Many threads at one model: shared by the tests of its parts."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

from tiny_qwen import ENGLISH, TEXT

from qwen_allinone.model import SharedQwen

TEXTS = [TEXT, ENGLISH, "大家都很高兴。" * 12, "What?", "今天是星期三", "The whole team is happy today. " * 5]


@contextmanager
def passes(qwen: SharedQwen, told: Callable[[int], object] = lambda _: None) -> Iterator[list[int]]:
    """Collect the number of rows of every forward pass."""
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
    """Begin a long reply, and wait for its first piece."""
    stream = qwen.stream(text, **{"min_new_tokens": 300, "max_new_tokens": 300} | options)
    next(stream)
    return stream


@contextmanager
def held(qwen: SharedQwen) -> Iterator[None]:
    """Keep the scheduler from running anything."""
    begun, released = Event(), Event()

    def hold() -> None:
        begun.set()
        released.wait(60)

    future = qwen.local.scheduler.call(hold)
    begun.wait(60)
    try:
        yield
    finally:
        released.set()
        future.result()


def wait_until(condition: Callable[[], bool], *, seconds: float = 60) -> None:
    """Wait for something that other threads do."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.001)


def asked_together(
    qwen: SharedQwen, pool: ThreadPoolExecutor, asked: list[tuple[str, dict[str, Any]]]
) -> list[Future[Any]]:
    """Ask for decisions of several threads, all of which wait before the first is run."""
    with held(qwen):
        decisions = [pool.submit(qwen.decide, text, questions) for text, questions in asked]
        wait_until(lambda: qwen.local.scheduler.load.jobs >= len(asked))
    return decisions
