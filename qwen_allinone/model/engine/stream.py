"""A reply as it is written: pieces of text that the reader takes one by one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from types import TracebackType

FinishReason = Literal["stop", "length", "cancelled"]
MAX_REPEATED_PIECES = 4
"""Longest run of pieces whose repetition is recognised."""


@dataclass(frozen=True)
class Reply:
    """A finished reply."""

    text: str
    finish_reason: FinishReason
    """stop: the model, a stop text or its own repetition ended it; length: max_new_tokens or the context window did."""
    prompt_tokens: int
    completion_tokens: int


class Generation(Protocol):
    """One reply under way in an engine."""

    def pieces(self) -> Iterator[str]:
        """Begin, and yield the pieces as they come."""

    def cancel(self) -> None:
        """Ask for the end, and wait for it."""

    def reply(self) -> Reply:
        """Return what was read so far."""


class ReplyStream(Iterator[str]):
    """The pieces of a reply as they are written; leaving it early cancels the generation.

    Use it as an iterator or as a context manager. ``reply`` holds the whole once the iteration has ended.
    """

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._pieces = generation.pieces()

    def __next__(self) -> str:
        return next(self._pieces)

    def __enter__(self) -> "ReplyStream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the generation, if it still runs, and wait for it to end; a thread that reads on sees the end too."""
        self._generation.cancel()

    @property
    def reply(self) -> Reply:
        """The reply as far as it was read."""
        return self._generation.reply()


class StopTexts:
    """Ends a reply at the first of some texts, however the pieces are split."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self.found = False
        """True once a stop text was met."""

    def cut(self, pieces: Iterator[str]) -> Iterator[str]:
        """Pass pieces on up to the first stop text, holding back what may be its beginning."""
        held = ""
        for piece in pieces:
            held += piece
            ends = [held.index(stop) for stop in self._stops if stop in held]
            if ends:
                self.found = True
                if held[: min(ends)]:
                    yield held[: min(ends)]
                return
            # The end of what is held may be the beginning of a stop text, which must not be shown.
            keep = max((_overlap(held, stop) for stop in self._stops), default=0)
            ready, held = held[: len(held) - keep], held[len(held) - keep :]
            if ready:
                yield ready
        if held:
            yield held


class Repetition:
    """Ends a reply that repeats itself.

    Args:
        max_repeats: times that a piece may come in a row; None: any.
    """

    def __init__(self, max_repeats: int | None) -> None:
        self._times = None if max_repeats is None else max_repeats + 1
        self.found = False
        """True once a piece came too often."""

    def cut(self, pieces: Iterator[str]) -> Iterator[str]:
        """Pass pieces on until one of them, or a run of up to four, comes once too often."""
        if self._times is None:
            yield from pieces
            return
        recent: list[str] = []
        for piece in pieces:
            # Only as many pieces as the longest repetition needs are remembered.
            recent = [*recent[1 - MAX_REPEATED_PIECES * self._times :], piece]
            for size in range(1, MAX_REPEATED_PIECES + 1):
                if recent[-size * self._times :] == recent[-size:] * self._times:
                    self.found = True
                    return
            yield piece


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of the text with which the stop text begins."""
    for size in range(min(len(stop) - 1, len(text)), 0, -1):
        if stop.startswith(text[-size:]):
            return size
    return 0
