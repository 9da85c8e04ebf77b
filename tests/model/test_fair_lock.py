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
        assert pool.submit(lock.acquire, 0.01).result() is False
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lock.acquire, 0.01).result() is True


def test_giving_up_leaves_the_queue() -> None:
    """Who waited for a while only is not given the lock later."""
    lock = FairLock()
    with lock, ThreadPoolExecutor(1) as pool:
        assert pool.submit(lock.acquire, 0.01).result() is False
    assert lock.acquire(0)


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
            if lock.acquire(None if turn % 2 else 0.0005):
                inside.append(number)
                seen.append(len(inside))
                inside.remove(number)
                lock.release()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    assert set(seen) == {1}
    assert lock.acquire(0)
