"""A reply that a server writes."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from threading import Event
from typing import Any

from qwen_allinone.errors import CapabilityError, ServerError
from qwen_allinone.model.chatml import Message
from qwen_allinone.model.remote.server import Piece, Server
from qwen_allinone.model.reply import FinishReason, Reply, cut_at
from qwen_allinone.model.writing import Writing


class ServerGeneration:
    """One reply, read as it comes.

    Args:
        server: writes.
        messages: the conversation.
        writing: how it is written.
        thinking: whether the model may think first, where it can.
        count: tokens of a text, where the server does not tell.

    Raises:
        CapabilityError: the API has no such setting.
    """

    def __init__(
        self,
        server: Server,
        messages: Sequence[Message],
        writing: Writing,
        *,
        thinking: bool,
        count: Callable[[str], int],
    ) -> None:
        if writing.repetition_penalty != 1:
            raise CapabilityError("a server's replies have no repetition_penalty; leave it out")
        if writing.min_new_tokens > 1:
            raise CapabilityError("a server's replies have no min_new_tokens above 1; leave it out")
        self._server, self._messages, self._writing = server, messages, writing
        self._thinking, self._count = thinking, count
        self._pieces = self._read()
        self._cancelled = Event()
        self._finish: FinishReason = "cancelled"
        self._text = ""
        self._told = Piece()
        """The last piece that counts tokens; some servers count with every piece."""

    def run(self) -> Iterator[str]:
        """Begin, and give the pieces as they come.

        Raises:
            ServerError: the reply broke off, or is empty and was not to be.
        """
        if self._cancelled.is_set():
            return
        try:
            for piece in cut_at(self._writing.stop, self._pieces, self._stop):
                self._text += piece
                yield piece
        finally:  # also where the loop is left, or a stop text ends it: the server need not write on
            with suppress(ValueError):  # another thread is just doing so
                self._pieces.close()
        if self._cancelled.is_set():
            return
        if self._finish == "cancelled":
            raise ServerError("the reply broke off before its end; see the server's log")
        if self._writing.min_new_tokens and not self._text:
            raise ServerError("the server wrote an empty reply; see its log")

    def cancel(self) -> None:
        """Hang up; a thread that waits for the next piece gets that one and then the end."""
        self._cancelled.set()
        with suppress(ValueError):  # the other thread is just reading it
            self._pieces.close()

    def reply(self) -> Reply:
        """What was read so far; tokens are estimated where the server tells no number."""
        prompt, new = self._told.prompt_tokens, self._told.new_tokens
        return Reply(
            self._text,
            self._finish,
            sum(self._count(each.content) for each in self._messages) if prompt is None else prompt,
            self._count(self._text) if new is None else new,
        )

    def _stop(self) -> None:
        self._finish = "stop"

    def _read(self) -> Generator[str, None, None]:
        for piece in self._server.write(self._messages, thinking=self._thinking, **self._options()):
            if self._cancelled.is_set():
                return
            if piece.finish_reason is not None:
                self._finish = "length" if piece.finish_reason == "length" else "stop"
            if piece.prompt_tokens is not None or piece.new_tokens is not None:
                self._told = piece
            if piece.text:
                yield piece.text

    def _options(self) -> dict[str, Any]:
        writing = self._writing
        seed = {} if writing.seed is None else {"seed": writing.seed}
        return {
            "max_tokens": writing.max_new_tokens,
            "temperature": writing.temperature,
            "top_p": writing.top_p,
            **seed,
        }
