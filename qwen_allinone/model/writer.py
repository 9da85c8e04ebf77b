"""Replies: how they are written, streamed, stopped and cancelled."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from queue import SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    MinLengthLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteria,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)
from transformers.generation.streamers import BaseStreamer

from qwen_allinone.errors import InputError, TextTooLongError
from qwen_allinone.model.chatml import ChatML
from qwen_allinone.model.fair_lock import FairLock
from qwen_allinone.model.pipeline import QwenPipeline, TokenPrompt
from qwen_allinone.model.reply_batch import ReplyBatch
from qwen_allinone.model.scorer import Scorer

if TYPE_CHECKING:
    from types import TracebackType

_LEAST = 1e-3
"""Below this, temperatures and penalties overflow the model's numbers."""
_POLL_SECONDS = 0.05
"""How soon a reply that waits for the model notices that nobody waits for it."""

FinishReason = Literal["stop", "length", "cancelled"]


class WritingOptions(TypedDict, total=False):
    """The fields of ``Writing``, as keyword arguments."""

    max_new_tokens: int
    min_new_tokens: int
    temperature: float
    top_p: float
    repetition_penalty: float
    seed: int | None
    stop: Sequence[str]


@dataclass(frozen=True)
class Writing:
    """How a reply is written."""

    max_new_tokens: int = 256
    min_new_tokens: int = 0
    temperature: float = 0.0
    """0 is greedy; above, tokens are sampled."""
    top_p: float = 1.0
    """Share of the probability mass that is sampled from, in (0, 1]."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that the reply has used already become less likely; those of the prompt may be taken up."""
    seed: int | None = None
    """Makes sampling repeatable; other random numbers of the process are left alone."""
    stop: Sequence[str] = field(default=())
    """Texts at which the reply ends; they are not part of it."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or not 0 <= self.min_new_tokens <= self.max_new_tokens:
            raise InputError(
                f"max_new_tokens must be at least 1 and min_new_tokens between 0 and it; "
                f"given {self.max_new_tokens} and {self.min_new_tokens}"
            )
        if not ((self.temperature == 0 or _LEAST <= self.temperature < inf) and 0 < self.top_p <= 1):
            raise InputError(f"temperature must be 0 or at least {_LEAST} and finite, top_p in (0, 1]")
        if not _LEAST <= self.repetition_penalty < inf:
            raise InputError(f"repetition_penalty must be at least {_LEAST} and finite")
        if self.seed is not None and not (isinstance(self.seed, int) and abs(self.seed) < 2**63):
            raise InputError(f"seed must be a whole number of at most 63 bits, or None; given {self.seed!r}")
        if isinstance(self.stop, str) or not all(self.stop):
            raise InputError("stop must be a list of texts, none of them empty")


@dataclass(frozen=True)
class Reply:
    """A finished reply."""

    text: str
    finish_reason: FinishReason
    """stop: the model or a stop text ended it; length: max_new_tokens or the context window did."""
    prompt_tokens: int
    new_tokens: int


class ReplyStream(Iterator[str]):
    """The pieces of a reply as they are written; leaving it early cancels the generation.

    Use it as an iterator or as a context manager. ``reply`` holds the whole once the iteration has ended.
    """

    def __init__(self, pieces: "_Pieces") -> None:
        self._pieces = pieces
        self._iterator = pieces.run()

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
        self._pieces.cancel()

    @property
    def reply(self) -> Reply:
        """What was written so far."""
        return self._pieces.reply()


class Writer:
    """Writes replies, from prompts whose beginning may have been read before.

    Those of a full-attention model are written together; with other architectures one after the other, through the
    pipeline.
    """

    def __init__(self, pipeline: QwenPipeline, chat: ChatML, scorer: Scorer, *, window: int, lock: FairLock) -> None:
        self._pipeline = pipeline
        self._chat = chat
        self._scorer = scorer
        self._window = window
        self._lock = lock
        self._batch = ReplyBatch(pipeline.model, scorer, chat.stop_ids, lock) if scorer.packs else None

    def stream(self, prompt: Sequence[int], writing: Writing, *, branch_point: int = 0) -> ReplyStream:
        """Begin a reply.

        Args:
            prompt: token ids, up to where the reply begins.
            writing: how to write.
            branch_point: how many leading tokens of the prompt are worth keeping in the prefix cache.

        Raises:
            TextTooLongError: the prompt leaves no room for a reply.
        """
        room = self._window - len(prompt)
        if room < max(1, writing.min_new_tokens):
            raise TextTooLongError(
                f"the prompt has {len(prompt)} tokens, the model's context window {self._window}; shorten the text"
            )
        limit = min(room, writing.max_new_tokens)
        pieces = _Pieces(self._begin, self._chat, writing, prompt=tuple(prompt), branch_point=branch_point, limit=limit)
        return ReplyStream(pieces)

    def _begin(self, pieces: "_Pieces") -> None:
        if self._batch is not None:
            self._batch.add(pieces)
        else:
            Thread(target=self._generate, args=(pieces,), name="qwen-reply", daemon=True).start()

    def _generate(self, pieces: "_Pieces") -> None:
        """Run the pipeline to its end, handing tokens to the pieces."""
        try:
            while not self._lock.acquire(timeout=_POLL_SECONDS):
                if pieces.unwanted:
                    return pieces.finish(None)
            try:
                self._generate_alone(pieces)
            finally:
                self._lock.release()
        except BaseException as error:
            return pieces.finish(error)
        return pieces.finish(None)

    def _generate_alone(self, pieces: "_Pieces") -> None:
        writing, prefix = pieces.writing, pieces.prompt[: pieces.branch_point]
        devices: list[int] | None = None if self._pipeline.model.device.type == "cuda" else []
        with torch.random.fork_rng(devices, enabled=writing.seed is not None):
            if pieces.unwanted:
                return
            if writing.seed is not None:
                torch.manual_seed(writing.seed)
            self._pipeline(  # type: ignore[call-overload]
                TokenPrompt(pieces.prompt),
                generation_config=self._config(writing, pieces.limit),
                past_key_values=self._scorer.read_whole(prefix) if prefix else None,
                streamer=_Streamer(pieces),
                stopping_criteria=StoppingCriteriaList([_Unwanted(pieces)]),
                logits_processor=_penalty(writing, prompt_tokens=len(pieces.prompt)),
                return_tensors=True,
            )

    def _config(self, writing: Writing, limit: int) -> GenerationConfig:
        sampled = {"temperature": writing.temperature, "top_p": writing.top_p, "top_k": 0}  # top_k is 50 if left out
        return GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=limit,
            min_new_tokens=writing.min_new_tokens or None,
            do_sample=writing.temperature > 0,
            eos_token_id=list(self._chat.stop_ids),
            pad_token_id=self._chat.stop_ids[-1],
            **(sampled if writing.temperature else {}),
        )


def _penalty(writing: Writing, *, prompt_tokens: int = 0) -> LogitsProcessorList:
    """That of transformers, without the prompt: its end-of-turn tokens and its memories are meant to come again."""
    if writing.repetition_penalty == 1:
        return LogitsProcessorList()
    return LogitsProcessorList(
        [RepetitionPenaltyLogitsProcessor(writing.repetition_penalty, prompt_ignore_length=prompt_tokens)]
    )


def _processors(writing: Writing, stops: Sequence[int]) -> LogitsProcessorList:
    """What ``generate`` applies, in its order."""
    found = _penalty(writing)
    if writing.min_new_tokens:
        found.append(MinLengthLogitsProcessor(writing.min_new_tokens, list(stops)))
    if writing.temperature:
        found.append(TemperatureLogitsWarper(writing.temperature))
        if writing.top_p < 1:
            found.append(TopPLogitsWarper(writing.top_p))
    return found


class _Unwanted(StoppingCriteria):
    def __init__(self, pieces: "_Pieces") -> None:
        self._pieces = pieces

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:  # noqa: ARG002
        return torch.full((input_ids.shape[0],), self._pieces.unwanted, device=input_ids.device)


class _Streamer(BaseStreamer):
    """Hands the tokens of ``generate`` on, which gives the prompt first."""

    def __init__(self, pieces: "_Pieces") -> None:
        self._pieces = pieces
        self._prompt_seen = False

    def put(self, value: torch.Tensor) -> None:
        if self._prompt_seen:
            for token in value.flatten().tolist():
                self._pieces.take(token)
        self._prompt_seen = True

    def end(self) -> None:
        pass


class _Pieces:
    """One running generation: token ids in from the model's thread, pieces of text out to the consumer."""

    def __init__(
        self,
        begin: Callable[["_Pieces"], None],
        chat: ChatML,
        writing: Writing,
        *,
        prompt: tuple[int, ...],
        branch_point: int,
        limit: int,
    ) -> None:
        self._begin, self._chat = begin, chat
        self.prompt, self.writing = prompt, writing
        self.branch_point, self.limit = branch_point, limit
        self.processors = _processors(writing, chat.stop_ids)
        self.sampled = writing.temperature > 0
        self.sampler = None if writing.seed is None else torch.Generator().manual_seed(writing.seed)
        self._begun = False
        self._cancelled, self._ended = Event(), Event()
        self._queue: SimpleQueue[int | BaseException | None] = SimpleQueue()
        self._text = ""
        self._count = 0
        self._finish: FinishReason = "cancelled"

    @property
    def unwanted(self) -> bool:
        return self._cancelled.is_set()

    def take(self, token: int) -> None:
        self._queue.put(token)

    def finish(self, error: BaseException | None) -> None:
        self._queue.put(error)
        self._ended.set()

    def reply(self) -> Reply:
        return Reply(self._text, self._finish, len(self.prompt), self._count)

    def run(self) -> Iterator[str]:
        if self.unwanted:
            return
        self._begin(self)
        self._begun = True
        try:
            for piece in _cut_at(self.writing.stop, self._decoded(), self._stop):
                self._text += piece
                yield piece
        finally:  # perhaps in a garbage collection of the very thread that would have to be waited for
            self._cancelled.set()

    def cancel(self) -> None:
        """Ask the generation to end at its next token, and wait until it has."""
        self._cancelled.set()
        if self._begun:
            self._ended.wait()

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


def _cut_at(stops: Sequence[str], pieces: Iterator[str], stopped: Any) -> Iterator[str]:
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
