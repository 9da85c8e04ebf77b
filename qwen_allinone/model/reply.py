"""A reply on its way: tokens in from the model's thread, pieces of text out to whoever reads them."""

import atexit
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Literal, Protocol
from weakref import WeakSet

import torch

from qwen_allinone.model.chatml import ChatML
from qwen_allinone.model.writing import Writing, processors

if TYPE_CHECKING:
    from types import TracebackType

FinishReason = Literal["stop", "length", "cancelled"]

_PATIENCE = 5.0
"""Seconds for which the end of the process waits for the step that is being computed."""


@dataclass(frozen=True)
class Reply:
    """A finished reply."""

    text: str
    finish_reason: FinishReason
    """stop: the model or a stop text ended it; length: max_new_tokens or the context window did."""
    prompt_tokens: int
    new_tokens: int


class Writes(Protocol):
    """What writes a reply, wherever it does."""

    def run(self) -> Iterator[str]:
        """Begin, and give the pieces as they come."""

    def cancel(self) -> None:
        """Ask for the end, and wait for it."""

    def reply(self) -> Reply:
        """What was read so far."""


class ReplyStream(Iterator[str]):
    """The pieces of a reply as they are written; leaving it early cancels the generation.

    Use it as an iterator or as a context manager. ``reply`` holds the whole once the iteration has ended.
    """

    def __init__(self, generation: Writes) -> None:
        self._generation = generation
        self._iterator = generation.run()

    def __next__(self) -> str:
        return next(self._iterator)

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
        """What was written so far."""
        return self._generation.reply()


_under_way: "WeakSet[Generation]" = WeakSet()
_threads: WeakSet[Thread] = WeakSet()


def start_thread(work: Callable[[], object]) -> None:
    """A thread that writes replies; it does not keep the process from ending."""
    thread = Thread(target=work, name="qwen-replies", daemon=True)
    thread.start()
    _threads.add(thread)


@atexit.register
def _end_all() -> None:
    """A thread that is inside of torch when the interpreter goes would abort the process."""
    for generation in list(_under_way):
        generation.cancel(patience=_PATIENCE)
    for thread in list(_threads):
        thread.join(_PATIENCE)


class Generation:
    """A reply between the thread of the model, which gives it tokens, and the thread that reads it.

    Args:
        begin: has the model write it.
        chat: decodes.
        writing: how it is written.
        prompt: token ids, up to where the reply begins.
        branch_point: how many leading tokens of the prompt are worth keeping in the prefix cache.
        goes_on: whether the conversation goes on from the whole prompt, so that the reply is worth keeping too.
        limit: the most tokens of the reply.
    """

    def __init__(
        self,
        begin: Callable[["Generation"], None],
        chat: ChatML,
        writing: Writing,
        *,
        prompt: tuple[int, ...],
        branch_point: int,
        goes_on: bool,
        limit: int,
    ) -> None:
        self._begin, self._chat = begin, chat
        self.prompt, self.writing = prompt, writing
        self.branch_point, self.goes_on, self.limit = branch_point, goes_on, limit
        self.processors = processors(writing, chat.stop_ids)
        """Applied to the logits of each next token, given the reply so far. *Shape:* (1, vocabulary)."""
        self.sampled = writing.temperature > 0
        """Whether tokens are drawn; else the likeliest is taken."""
        self.sampler = None if writing.seed is None else torch.Generator().manual_seed(writing.seed)
        """Draws them; None: the random numbers of the process."""
        self._begun = False
        self._cancelled, self._ended = Event(), Event()
        self._queue: SimpleQueue[int | BaseException | None] = SimpleQueue()
        self._text = ""
        self._count = 0
        self._finish: FinishReason = "cancelled"

    @property
    def unwanted(self) -> bool:
        """Whether nobody waits for the rest."""
        return self._cancelled.is_set()

    def take(self, token: int) -> None:
        """Told of each token by the model's thread."""
        self._queue.put(token)

    def finish(self, error: BaseException | None) -> None:
        """Told of the end by the model's thread, once."""
        self._queue.put(error)
        self._ended.set()

    def reply(self) -> Reply:
        """What was read so far."""
        return Reply(self._text, self._finish, len(self.prompt), self._count)

    def run(self) -> Iterator[str]:
        """Begin, and give the pieces as they come."""
        if self.unwanted:
            return
        self._begin(self)
        self._begun = True
        _under_way.add(self)
        try:
            for piece in cut_at(self.writing.stop, self._decoded(), self._stop):
                self._text += piece
                yield piece
        finally:  # perhaps in a garbage collection of the very thread that would have to be waited for
            self._cancelled.set()

    def cancel(self, *, patience: float | None = None) -> None:
        """Ask the generation to end at its next token, and wait until it has, for so many seconds at most."""
        self._cancelled.set()
        if self._begun:
            self._ended.wait(patience)

    def _stop(self) -> None:
        self._finish = "stop"

    def _decoded(self) -> Iterator[str]:
        pending: list[int] = []
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            if self.unwanted:
                continue
            self._count += 1
            if item in self._chat.stop_ids:
                self._finish = "stop"
                continue
            pending.append(item)
            text = self._chat.decode(pending)
            if not text.endswith("\ufffd"):
                pending.clear()
                yield text
        if pending:
            yield self._chat.decode(pending)
        if self._finish != "stop":
            self._finish = "cancelled" if self.unwanted else "length"


def cut_at(stops: Sequence[str], pieces: Iterator[str], stopped: Any) -> Iterator[str]:
    """Pass pieces on up to the first stop text, holding back what may be its beginning."""
    held = ""
    for piece in pieces:
        held += piece
        found = [held.index(stop) for stop in stops if stop in held]
        if found:
            stopped()
            if held[: min(found)]:
                yield held[: min(found)]
            return
        keep = max((_overlap(held, stop) for stop in stops), default=0)
        ready, held = held[: len(held) - keep], held[len(held) - keep :]
        if ready:
            yield ready
    if held:
        yield held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of the text with which the stop text begins."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if stop.startswith(text[-size:])), 0)
