"""A reply that a server writes."""

from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from threading import Event
from typing import Any

from qwen_allinone.errors import CapabilityError, ServerError
from qwen_allinone.model.engine.base import GenerateRequest
from qwen_allinone.model.engine.openai.client import Chunk, Client
from qwen_allinone.model.engine.sampling import SamplingParams
from qwen_allinone.model.engine.stream import FinishReason, Repetition, Reply, StopTexts


class ServerGeneration:
    """One reply, read as it comes.

    Args:
        client: of the server.
        request: the whole of it; its context is part of the messages already.
        count: number of tokens of a text, where the server does not tell.

    Raises:
        CapabilityError: the API has no such setting.
    """

    def __init__(self, client: Client, request: GenerateRequest, count: Callable[[str], int]) -> None:
        if request.sampling.repetition_penalty != 1:
            raise CapabilityError("a server's replies have no repetition_penalty; leave it out")
        if request.sampling.min_new_tokens > 1:
            raise CapabilityError("a server's replies have no min_new_tokens above 1; leave it out")
        self._client, self._request, self._count = client, request, count
        self._stop_texts = StopTexts(request.sampling.stop)
        self._repetition = Repetition(request.sampling.max_repeats)
        self._chunks = self._read()
        self._cancelled = Event()
        self._finish: FinishReason | None = None
        self._text = ""
        self._usage = Chunk()
        """The last chunk that counts tokens; some servers count with every chunk."""

    def pieces(self) -> Iterator[str]:
        """Begin, and yield the pieces as they come.

        Raises:
            ServerError: the reply broke off, or is empty and was not to be.
        """
        if self._cancelled.is_set():
            return
        try:
            for piece in self._stop_texts.cut(self._repetition.cut(self._chunks)):
                self._text += piece
                yield piece
        finally:  # also where the loop is left, or a stop text ends it: the server need not write on
            with suppress(ValueError):  # another thread is just doing so
                self._chunks.close()
        if self._cancelled.is_set():
            return
        if self._finish is None and not self._ended:
            raise ServerError("the reply broke off before its end; see the server's log")
        if self._request.sampling.min_new_tokens and not self._text:
            raise ServerError("the server wrote an empty reply; see its log")

    def cancel(self) -> None:
        """Hang up; a thread that waits for the next piece gets that one and then the end."""
        self._cancelled.set()
        with suppress(ValueError):  # the other thread is just reading it
            self._chunks.close()

    def reply(self) -> Reply:
        """Return what was read so far; tokens are estimated where the server tells no number."""
        prompt, completion = self._usage.prompt_tokens, self._usage.completion_tokens
        finish: FinishReason = "stop" if self._ended else self._finish or "cancelled"
        return Reply(
            self._text,
            finish,
            sum(self._count(each.content) for each in self._request.messages) if prompt is None else prompt,
            self._count(self._text) if completion is None else completion,
        )

    @property
    def _ended(self) -> bool:
        """True if the reply ended here, and not at the server."""
        return self._stop_texts.found or self._repetition.found

    def _read(self) -> Generator[str, None, None]:
        options = _api_options(self._request.sampling)
        for chunk in self._client.generate(self._request.messages, thinking=self._request.thinking, **options):
            if self._cancelled.is_set():
                return
            if chunk.finish_reason is not None:
                self._finish = "length" if chunk.finish_reason == "length" else "stop"
            # Some servers count with every chunk, others at the end; the last count is the true one.
            if chunk.prompt_tokens is not None or chunk.completion_tokens is not None:
                self._usage = chunk
            if chunk.text:
                yield chunk.text


def _api_options(sampling: SamplingParams) -> dict[str, Any]:
    options = {
        "max_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
    }
    return options if sampling.seed is None else options | {"seed": sampling.seed}
