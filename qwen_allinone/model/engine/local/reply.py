"""A reply on its way: tokens in from the scheduler's thread, pieces of text out to the reader."""

from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from threading import Event

import torch

from qwen_allinone.model.engine.local.sampler import Sampler
from qwen_allinone.model.engine.sampling import SamplingParams
from qwen_allinone.model.engine.stream import FinishReason, Repetition, Reply, StopTexts
from qwen_allinone.model.prompt.chatml import ChatML

_HALF_CHARACTER = "\ufffd"


class LocalGeneration:
    """One reply between the scheduler, which gives it tokens, and the thread that reads it.

    Args:
        begin: hands the reply to the scheduler.
        chat: decodes.
        sampling: how it is written.
        prompt: token ids, up to where the reply begins.
        branch_point: number of leading tokens whose KV cache is worth keeping.
        cache_reply: keep the KV cache of prompt and reply, because the conversation goes on from them.
        max_tokens: of the reply.
    """

    def __init__(
        self,
        begin: Callable[["LocalGeneration"], None],
        chat: ChatML,
        sampling: SamplingParams,
        *,
        prompt: Sequence[int],
        branch_point: int,
        cache_reply: bool,
        max_tokens: int,
    ) -> None:
        self._begin, self._chat = begin, chat
        self.prompt, self.branch_point, self.cache_reply = tuple(prompt), branch_point, cache_reply
        self.max_tokens = max_tokens
        self.written: list[int] = []
        """Tokens of the reply so far."""
        self.sampler = Sampler(sampling, chat.stop_ids)
        self._stop_texts, self._repetition = StopTexts(sampling.stop), Repetition(sampling.max_repeats)
        self._begun = False
        self._cancelled, self._ended = Event(), Event()
        self._queue: SimpleQueue[int | BaseException | None] = SimpleQueue()
        self._text = ""
        self._read_tokens = 0
        self._finish: FinishReason = "cancelled"

    # For the scheduler

    @property
    def cancelled(self) -> bool:
        """True if nobody waits for the rest."""
        return self._cancelled.is_set()

    @property
    def complete(self) -> bool:
        """True if the last token ended the reply, or no more may follow."""
        return bool(self.written) and (self.written[-1] in self._chat.stop_ids or len(self.written) >= self.max_tokens)

    @property
    def max_length(self) -> int:
        """Most tokens of prompt and reply together."""
        return len(self.prompt) + self.max_tokens

    def advance(self, logits: torch.Tensor) -> None:
        """Choose the next token and hand it to the reader. *Shape:* (1, vocabulary)."""
        token = self.sampler.choose(logits, self.written)
        self.written.append(token)
        self._queue.put(token)

    def finish(self, error: BaseException | None = None) -> None:
        """Tell the reader that this was all, or what went wrong."""
        self._queue.put(error)
        self._ended.set()

    # For the reader

    def pieces(self) -> Iterator[str]:
        """Begin, and yield the pieces as they come.

        Raises:
            ModelBusyError: too many replies are waiting.
        """
        if self.cancelled:
            return
        self._begin(self)
        self._begun = True
        try:
            for piece in self._stop_texts.cut(self._repetition.cut(self._decoded())):
                self._text += piece
                yield piece
        finally:  # perhaps in a garbage collection of the very thread that would have to be waited for
            self._cancelled.set()

    def cancel(self) -> None:
        """Ask for the end at the next token, and wait for it."""
        self._cancelled.set()
        if self._begun:
            self._ended.wait()

    def reply(self) -> Reply:
        """Return what was read so far."""
        finish: FinishReason = "stop" if self._stop_texts.found or self._repetition.found else self._finish
        return Reply(self._text, finish, len(self.prompt), self._read_tokens)

    def _decoded(self) -> Iterator[str]:
        pending: list[int] = []
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            # The queue is drained to its end, so that the scheduler's last word is not lost.
            if self.cancelled:
                continue
            self._read_tokens += 1
            if item in self._chat.stop_ids:
                self._finish = "stop"
                continue
            pending.append(item)
            text = self._chat.decode(pending)
            # A character of several tokens is held back until it is whole.
            if not text.endswith(_HALF_CHARACTER):
                pending.clear()
                yield text
        if pending:
            yield self._chat.decode(pending)
        if self._finish != "stop":
            self._finish = "cancelled" if self.cancelled else "length"
