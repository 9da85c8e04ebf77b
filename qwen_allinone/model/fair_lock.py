"""A lock that is given to whoever has waited longest."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Lock, get_ident

_POLL_SECONDS = 0.05


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

    def acquire(self, *, unless: Callable[[], bool] = lambda: False) -> bool:
        """Wait for one's turn.

        Args:
            unless: asked now and then, whether to give up; the turn is kept meanwhile.

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
        try:
            while not turn.given.wait(_POLL_SECONDS):
                if unless():
                    return not self._withdrawn(turn)
        except BaseException:  # Ctrl-C, say: nobody would ever give back what is given to this turn
            if not self._withdrawn(turn):
                self.release()
            raise
        return True

    def _withdrawn(self, turn: _Turn) -> bool:
        """Leave the queue; False: too late, the lock is held."""
        with self._mutex:
            if turn.given.is_set():
                return False
            self._waiting.remove(turn)
            return True

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
