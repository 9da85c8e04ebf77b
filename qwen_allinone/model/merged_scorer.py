"""Questions of several threads, answered in one pass."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

from qwen_allinone.model.branches import Inquiry
from qwen_allinone.model.fair_lock import FairLock
from qwen_allinone.model.scorer import LeafScores, Scorer

_MOST_TOKENS = 4096
"""Of one pass, padding included."""


@dataclass(eq=False)
class _Request:
    inquiry: Inquiry
    found: LeafScores | BaseException | None = None


class MergedScorer:
    """Whoever gets the model answers, along with its own question, those of the threads that wait behind it.

    Args:
        scorer: scores.
        lock: held while the model works.
    """

    def __init__(self, scorer: Scorer, lock: FairLock) -> None:
        self._scorer = scorer
        self._lock = lock
        self._waiting: deque[_Request] = deque()
        self._mutex = Lock()

    def score(self, inquiries: Sequence[Inquiry]) -> list[LeafScores]:
        """Scores of each inquiry, as ``Scorer.score`` gives them; the reading of its prefix is kept."""
        requests = [_Request(each) for each in inquiries]
        with self._mutex:
            self._waiting.extend(requests)
        try:
            with self._lock:
                while any(each.found is None for each in requests):
                    self._answer(self._next())
        finally:
            with self._mutex:  # of what an interruption leaves behind
                self._waiting = deque(each for each in self._waiting if each not in requests)
        found = [each.found for each in requests]
        for each in found:
            if isinstance(each, BaseException):
                raise each
        return [each for each in found if isinstance(each, tuple)]

    def _next(self) -> list[_Request]:
        """Those that have waited longest, as many as fit into one pass; a text that was read before is asked alone."""
        batch: list[_Request] = []
        width = 0
        with self._mutex:
            for each in self._waiting:
                known = self._scorer.knows(each.inquiry.prefix)
                width = max(width, each.inquiry.size)
                if batch and (known or (len(batch) + 1) * width > _MOST_TOKENS):
                    break
                batch.append(each)
                if known:
                    break
            for _ in batch:
                self._waiting.popleft()
        return batch

    def _answer(self, requests: Sequence[_Request]) -> None:
        try:
            scores = self._scorer.score_all([each.inquiry for each in requests], keep=True)
        except Exception as error:
            if len(requests) == 1:
                requests[0].found = error
                return
        except BaseException:  # Ctrl-C in this thread is no answer to the others
            with self._mutex:
                self._waiting.extendleft(reversed(requests))
            raise
        else:
            for each, found in zip(requests, scores, strict=True):
                each.found = found
            return
        for each in requests:  # what breaks one of them must not break the others
            self._answer([each])
