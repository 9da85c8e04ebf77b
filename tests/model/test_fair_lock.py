"""The lock that is given to whoever has waited longest."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from qwen_allinone.model.fair_lock import FairLock


def test_whoever_comes_first_is_served_first() -> None:
    """A thread that releases and takes it again queues behind all who came meanwhile."""
    lock, order = FairLock(), []
    threads = [threading.Thread(target=lambda number=number: _note(lock, order, number)) for number in range(5)]
    with lock:
        for thread in threads:
            thread.start()
            _until_waiting(lock, threads.index(thread) + 1)
    with lock:
        order.append("again")
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4, "again"]


def _note(lock: FairLock, order: list[object], number: int) -> None:
    with lock:
        order.append(number)


def _until_waiting(lock: FairLock, count: int) -> None:
    while len(lock._waiting) < count:
        time.sleep(0.001)


def test_its_owner_may_take_it_again() -> None:
    """Only the last release gives it on."""
    lock = FairLock()
    with lock, lock, ThreadPoolExecutor(1) as pool:
        assert lock.acquire()
        lock.release()
        assert pool.submit(lock.acquire, unless=_never_mind).result() is False
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lock.acquire, unless=_never_mind).result() is True


def _never_mind() -> bool:
    return True


def test_giving_up_leaves_the_queue() -> None:
    """Who does not wait to the end is not given the lock later."""
    lock = FairLock()
    with lock, ThreadPoolExecutor(1) as pool:
        assert pool.submit(lock.acquire, unless=_never_mind).result() is False
    assert lock.acquire(unless=_never_mind)


def test_being_interrupted_leaves_the_queue() -> None:
    """An exception while waiting, such as Ctrl-C, leaves no turn behind that nobody would take."""
    lock = FairLock()

    def interrupt() -> bool:
        raise KeyboardInterrupt

    with lock, ThreadPoolExecutor(1) as pool, pytest.raises(KeyboardInterrupt):
        pool.submit(lock.acquire, unless=interrupt).result()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lock.acquire, unless=_never_mind).result() is True


def test_asking_now_and_then_keeps_the_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks up while waiting is not passed by those who came later."""
    monkeypatch.setattr("qwen_allinone.model.fair_lock._POLL_SECONDS", 0.001)
    lock, order = FairLock(), list[object]()
    asked = []

    def first() -> None:
        lock.acquire(unless=lambda: bool(asked.append(1)))
        order.append("first")
        lock.release()

    with lock:
        threads = [threading.Thread(target=first), threading.Thread(target=_note, args=(lock, order, 2))]
        for number, thread in enumerate(threads):
            thread.start()
            _until_waiting(lock, number + 1)
        while len(asked) < 5:
            time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert order == ["first", 2]


def test_only_its_owner_releases_it() -> None:
    """Neither a lock that nobody holds nor that of another can be released."""
    lock = FairLock()
    with pytest.raises(RuntimeError):
        lock.release()
    with lock, ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError):
        pool.submit(lock.release).result()


def test_no_two_hold_it() -> None:
    """Sixteen threads, each with and without patience."""
    lock, inside, seen = FairLock(), [], []

    def work(number: int) -> None:
        for turn in range(50):
            if lock.acquire(unless=_never_mind if turn % 2 else lambda: False):
                inside.append(number)
                seen.append(len(inside))
                inside.remove(number)
                lock.release()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    assert set(seen) == {1}
    assert lock.acquire(unless=_never_mind)
