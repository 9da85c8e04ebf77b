"""A lock that is given to whoever has waited longest."""

from collections import deque
from dataclasses import dataclass, field
from threading import Event, Lock, get_ident


@dataclass(eq=False)
class _Turn:
    thread: int
    given: Event = field(default_factory=Event)


class FairLock:
    """Reentrant, and first come, first served.

    With a lock of the standard library, a loop that releases and takes it again leaves the others hardly a chance: a
    long reply would keep every decision waiting.
    """

    def __init__(self) -> None:
        self._mutex = Lock()
        self._owner: int | None = None
        self._depth = 0
        self._waiting: deque[_Turn] = deque()

    def acquire(self, timeout: float | None = None) -> bool:
        """Wait for one's turn.

        Args:
            timeout: seconds after which to give up; None: never.

        Returns:
            Whether the lock is held now.
        """
        with self._mutex:
            if self._owner in (None, get_ident()):
                self._owner = get_ident()
                self._depth += 1
                return True
            turn = _Turn(get_ident())
            self._waiting.append(turn)
        if turn.given.wait(timeout):
            return True
        with self._mutex:
            if turn.given.is_set():  # at the last moment
                return True
            self._waiting.remove(turn)
            return False

    def release(self) -> None:
        """Give the lock to the next.

        Raises:
            RuntimeError: the calling thread does not hold it.
        """
        with self._mutex:
            if self._owner != get_ident():
                raise RuntimeError("the lock is held by another thread, or by none")
            self._depth -= 1
            if self._depth:
                return
            self._owner = None
            if self._waiting:
                turn = self._waiting.popleft()
                self._owner, self._depth = turn.thread, 1
                turn.given.set()

    def __enter__(self) -> "FairLock":
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
