"""Several requests to a server at the same time."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

MAX_REQUESTS = 8
"""Requests under way for each caller."""

_Item = TypeVar("_Item")
_Found = TypeVar("_Found")


def start_all(work: Callable[[_Item], _Found], items: Sequence[_Item]) -> "list[Future[_Found]]":
    """Return the results to be, in the order of the items; those that are cancelled in time are never worked on.

    The threads do not keep the process from ending, as those of a ``ThreadPoolExecutor`` would for an answer.
    """
    futures: list[Future[_Found]] = [Future() for _ in items]
    waiting: SimpleQueue[tuple[_Item, Future[_Found]]] = SimpleQueue()
    for pair in zip(items, futures, strict=True):
        waiting.put(pair)
    for _ in range(min(MAX_REQUESTS, len(items))):
        Thread(target=_work_off, args=(work, waiting), name="qwen-server", daemon=True).start()
    return futures


def _work_off(work: Callable[[_Item], _Found], waiting: "SimpleQueue[tuple[_Item, Future[_Found]]]") -> None:
    while True:
        try:
            item, future = waiting.get_nowait()
        except Empty:
            return
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(work(item))
            except BaseException as error:
                future.set_exception(error)
