"""The assistant: mood, route, answer and memory of one input, as a Runnable."""

import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, RunnableSerializable
from langchain_core.runnables.config import run_in_executor
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_jsonable_python

from qwen_allinone import settings
from qwen_allinone.errors import InputError
from qwen_allinone.model import Decision, Message, SharedQwen
from qwen_allinone.model.prompt.language import language_of
from qwen_allinone.model.prompt.messages import MessageLike
from qwen_allinone.router import ASK, Corrections, PromptRouter, Route, RouteResult, builtin_routes
from qwen_allinone.tools import ChatTool, IntentTool, KeywordsTool, Sentiment, SentimentTool, SummaryTool
from qwen_allinone.tools.base import History

if TYPE_CHECKING:
    from qwen_allinone.memory import LongTermMemory

MAX_RECALLED = 4
FRACTION = 0.25
"""Largest part of the context window that history, and recalled texts, may each fill."""


class AssistantInput(BaseModel):
    """One input, whose it is, and the conversation that it continues."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    user: str | None = None
    """Owner of the memory to recall from and to add to; None: no memory is touched."""
    history: History = []

    @classmethod
    def from_any(cls, given: "AssistantInput | Mapping[str, Any] | str", **fields: Any) -> Self:
        """Read a text or a mapping; fields named besides win over those of the mapping.

        Raises:
            InputError: it is neither, or a field is missing, unknown or of the wrong type.
        """
        if not isinstance(given, str | Mapping | AssistantInput):
            raise InputError(
                f"an input is a text, or a mapping with {', '.join(cls.model_fields)}; given {type(given).__name__}"
            )
        named = {"text": given} if isinstance(given, str) else dict(given)
        try:
            return cls.model_validate(named | fields)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InputError(f"{where}: {first['msg']}; an input has {', '.join(cls.model_fields)}") from error


@dataclass(frozen=True)
class Turn(RouteResult):
    """One input with everything that was decided about it, and the answer.

    Pieces of a stream add up to the whole turn.
    """

    text: str
    sentiment: Sentiment
    recalled: tuple[str, ...]
    """Remembered words of this user that are like this text, the most similar first."""
    prompt: str
    """Words that the chat tool told the model besides the text; empty on routes that write no reply."""
    model: str
    truncated_tokens: int
    """Tokens in the middle of the text that decisions and reply did not see; 0 unless the text is long."""
    timings_ms: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for ``json.dumps``."""
        return {
            "route": self.route,
            "probabilities": dict(self.decision.probabilities),
            "margin": self.decision.margin,
            "state": self.decision.state,
            "sentiment": self.sentiment.model_dump(),
            "output": to_jsonable_python(self.output, fallback=str, bytes_mode="base64"),
            "recalled": list(self.recalled),
            "prompt": self.prompt,
            "model": self.model,
            "truncated_tokens": self.truncated_tokens,
            "timings_ms": {name: round(value, 1) for name, value in self.timings_ms.items()},
        }


@dataclass(frozen=True)
class Analysis:
    """The mood of a text and a reply to it."""

    sentiment: Sentiment
    reply: str


class Assistant(RunnableSerializable[AssistantInput | Mapping[str, Any] | str, Turn]):
    """Reads an input once, knows its mood, routes it, answers it and remembers it.

    Config (callbacks, tags, metadata) reaches the route's Runnable; deciding, recalling and remembering are runs of
    their own in a trace.

    Args:
        qwen: the shared model.
        router: picks the route; the Runnable behind it gets a mapping with ``text``, ``history``, ``memories``,
            ``comfort`` and ``sentiment``.
        home: folder of the long-term memory, opened when a user is first named; by default the environment's.
        name: of the runs in a trace.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    qwen: SharedQwen = Field(exclude=True, repr=False)
    router: PromptRouter
    home: Path | None = None

    def __init__(
        self, qwen: SharedQwen, router: PromptRouter, *, home: Path | None = None, name: str | None = None
    ) -> None:
        super().__init__(qwen=qwen, router=router, home=home, name=name)  # type: ignore[call-arg]

    @classmethod
    def default(
        cls,
        qwen: SharedQwen | str | Path | None = None,
        *,
        routes: Sequence[Route] = (),
        home: Path | None = None,
        runnables: Mapping[str, Runnable[Any, Any]] | None = None,
    ) -> "Assistant":
        """Put the four default routes over their tools.

        Args:
            qwen: the model or its name; by default the model that the environment names, or the bundled one.
            routes: added to the default ones; one of the same name replaces it.
            home: folder of the long-term memory and of corrections; by default the environment's.
            runnables: what routes may name besides ``sentiment``, ``chat``, ``intent``, ``summary`` and ``keywords``;
                one of the same name replaces it.
        """
        shared = qwen if isinstance(qwen, SharedQwen) else SharedQwen.load(qwen or settings.model_name())
        tools: dict[str, Runnable[Any, Any]] = {
            "sentiment": SentimentTool(qwen=shared),
            "chat": ChatTool(qwen=shared),
            "intent": IntentTool(qwen=shared),
            "summary": SummaryTool(qwen=shared),
            "keywords": KeywordsTool(qwen=shared),
        }
        router = PromptRouter(
            shared,
            [*builtin_routes(), *routes],
            runnables=tools | dict(runnables or {}),
            corrections=Corrections((home or settings.home()) / "corrections.jsonl"),
        )
        return cls(shared, router, home=home)

    @property
    def InputType(self) -> Any:  # noqa: N802
        """Type of the input, for schemas."""
        return AssistantInput | str

    @cached_property
    def memory(self) -> "LongTermMemory":
        """Long-term memory of all users, opened on first use."""
        from qwen_allinone.memory import LongTermMemory, load_embedder

        return LongTermMemory(self.home or settings.home(), load_embedder(settings.embedder_name()))

    def invoke(
        self, input: AssistantInput | Mapping[str, Any] | str, config: RunnableConfig | None = None, **fields: Any
    ) -> Turn:
        """Decide, answer and remember.

        Args:
            input: a text, or a mapping with the fields of ``AssistantInput``.
            config: reaches the route's Runnable.
            **fields: ``user`` and ``history``, as in ``invoke("hi", user="ann")``.

        Raises:
            InputError: the input is no text or has unknown fields.
            EmptyTextError: the text is blank.
            StoreBusyError: another process held the memory for too long.
        """
        return self._call_with_config(self._invoke, self._read(input, fields), config)  # type: ignore[arg-type]

    async def ainvoke(
        self, input: AssistantInput | Mapping[str, Any] | str, config: RunnableConfig | None = None, **fields: Any
    ) -> Turn:
        """Decide and remember in a thread; await the route's Runnable in between."""
        return await self._acall_with_config(self._ainvoke, self._read(input, fields), config)  # type: ignore[arg-type]

    def stream(
        self, input: AssistantInput | Mapping[str, Any] | str, config: RunnableConfig | None = None, **fields: Any
    ) -> Iterator[Turn]:
        """Yield the turn piece by piece.

        The first piece has mood and route and no output yet, the following ones the answer as it is written, the last
        one all timings. ``+`` joins them. A turn whose stream is left early is not remembered.
        """
        given = iter([self._read(input, fields)])
        yield from self._transform_stream_with_config(given, self._stream, config)  # type: ignore[arg-type]

    async def astream(
        self, input: AssistantInput | Mapping[str, Any] | str, config: RunnableConfig | None = None, **fields: Any
    ) -> AsyncIterator[Turn]:
        """Yield the same without blocking the event loop."""
        given = self._read(input, fields)

        async def inputs() -> AsyncIterator[AssistantInput]:
            yield given

        pieces = self._atransform_stream_with_config(inputs(), self._astream, config)  # type: ignore[arg-type]
        async for piece in pieces:
            yield piece

    def remember(self, turn: Turn, user: str) -> Turn:
        """Add what was said to a user's memory; only a turn that was left early needs it.

        Returns:
            The turn with the time that it took.
        """
        start = time.perf_counter()
        self.memory.add(user, turn.text)
        return replace(turn, timings_ms={**turn.timings_ms, "remember": _milliseconds(start)})

    def analyze(self, text: str, *, history: Sequence[MessageLike] = ()) -> Analysis:
        """Decide the mood of a text and reply to it, whatever its route would be."""
        given = self._read(text, {"history": history})
        decided = self.qwen.decide(text, SentimentTool.questions(text), history=given.history)
        sentiment = Sentiment.from_decisions(decided["mood"], decided["intensity"])
        chat = ChatTool(qwen=self.qwen)
        reply = chat.invoke({"text": text, "history": given.history, "comfort": sentiment.upset})
        return Analysis(sentiment, str(reply))

    def _invoke(self, given: AssistantInput, config: RunnableConfig) -> Turn:
        given, turn = self._begin(given, config)
        start = time.perf_counter()
        output = self._behind(turn).invoke(_passed_on(given, turn), config)
        return self._finish(given, replace(turn, output=_plain(output)), start, config)

    async def _ainvoke(self, given: AssistantInput, config: RunnableConfig) -> Turn:
        given, turn = await run_in_executor(config, self._begin, given, config)
        start = time.perf_counter()
        output = await self._behind(turn).ainvoke(_passed_on(given, turn), config)
        return await run_in_executor(config, self._finish, given, replace(turn, output=_plain(output)), start, config)

    def _stream(self, inputs: Iterator[AssistantInput], config: RunnableConfig) -> Iterator[Turn]:
        for each in inputs:
            given, turn = self._begin(each, config)
            yield turn
            start = time.perf_counter()
            for piece in self._behind(turn).stream(_passed_on(given, turn), config):
                yield replace(turn, output=_plain(piece))
            yield self._finish(given, turn, start, config)

    async def _astream(self, inputs: AsyncIterator[AssistantInput], config: RunnableConfig) -> AsyncIterator[Turn]:
        async for each in inputs:
            given, turn = await run_in_executor(config, self._begin, each, config)
            yield turn
            start = time.perf_counter()
            async for piece in self._behind(turn).astream(_passed_on(given, turn), config):
                yield replace(turn, output=_plain(piece))
            yield await run_in_executor(config, self._finish, given, turn, start, config)

    def _begin(self, given: AssistantInput, config: RunnableConfig) -> tuple[AssistantInput, Turn]:
        """Decide mood and route on one reading, and recall; the answer is yet to come.

        Returns:
            The input, or the earlier one that it makes clear, and the turn.
        """
        start = time.perf_counter()
        clarified = self.router.clarified(given.text, given.history)
        if clarified is not None:
            asked, _ = clarified
            given = given.model_copy(update={"text": asked.text, "history": list(asked.history)})
        decided = RunnableLambda(self._decide, name="decide").invoke(given, config)
        timings = {"decide": _milliseconds(start)}
        recalled: tuple[str, ...] = ()
        if given.user is not None:
            start = time.perf_counter()
            recalled = RunnableLambda(self._recall, name="recall").invoke(given, config)
            timings["recall"] = _milliseconds(start)
        sentiment = Sentiment.from_decisions(decided["mood"], decided["intensity"])
        decision = self.router.apply_threshold(decided["route"])
        route = self.router.select(decision) if clarified is None else clarified[1]
        turn = Turn(
            decision=decision,
            route=route,
            output=None,
            text=given.text,
            sentiment=sentiment,
            recalled=recalled,
            prompt=self._prompt(given.text, route, recalled, sentiment),
            model=self.qwen.name,
            truncated_tokens=self.qwen.truncate(given.text).truncated_tokens,
            timings_ms=timings,
        )
        return given, turn

    def _behind(self, turn: Turn) -> Runnable[Any, Any]:
        return self.router.answering(turn.route, turn.text, turn.decision)

    def _finish(self, given: AssistantInput, turn: Turn, start: float, config: RunnableConfig) -> Turn:
        """Remember what the user said, and add up the times."""
        turn = replace(turn, timings_ms={**turn.timings_ms, "answer": _milliseconds(start)})
        if given.user is not None and turn.route != ASK:  # what was not understood is remembered when it is
            turn = RunnableLambda(partial(self.remember, user=given.user), name="remember").invoke(turn, config)
        return replace(turn, timings_ms={**turn.timings_ms, "total": sum(turn.timings_ms.values())})

    def _decide(self, given: AssistantInput) -> dict[str, Decision]:
        questions = {"route": self.router.question(given.text), **SentimentTool.questions(given.text)}
        return self.qwen.decide(given.text, questions, history=given.history)

    def _recall(self, given: AssistantInput) -> tuple[str, ...]:
        found = self.memory.search(str(given.user), given.text, k=MAX_RECALLED)
        # Whoever says the same again need not be reminded of it.
        return tuple(self._shortened(each.text) for each in found if each.text != given.text)

    def _prompt(self, text: str, route: str, recalled: Sequence[str], sentiment: Sentiment) -> str:
        # A Runnable of the user's own words its prompt itself.
        if route == ASK or not isinstance(self.router.runnable(route), ChatTool):
            return ""
        return ChatTool.context(language_of(text), memories=recalled, comfort=sentiment.upset)

    def _read(self, input: AssistantInput | Mapping[str, Any] | str, fields: Mapping[str, Any]) -> AssistantInput:
        given = AssistantInput.from_any(input, **fields)
        return given.model_copy(update={"history": self._recent(given.history)})

    def _recent(self, history: Sequence[Message]) -> list[Message]:
        """Return the latest turns that leave room for text, questions and reply."""
        room = int(self.qwen.context_window * FRACTION)
        first = len(history)
        # From the latest back: what does not fit any more is the oldest.
        while first and (room := room - len(self.qwen.chat.turns(history[first - 1 : first]))) >= 0:
            first -= 1
        return list(history[first:])

    def _shortened(self, memory: str) -> str:
        ids = self.qwen.chat.encode(memory)
        room = int(self.qwen.context_window * FRACTION) // MAX_RECALLED
        return memory if len(ids) <= room else self.qwen.chat.decode(ids[:room]).rstrip("\ufffd") + "…"


def _passed_on(given: AssistantInput, turn: Turn) -> dict[str, Any]:
    """Return the input of the route's Runnable; every tool takes from it the fields that it knows."""
    return {
        "text": given.text,
        "history": given.history,
        "memories": list(turn.recalled),
        "comfort": turn.sentiment.upset,
        "sentiment": turn.sentiment,
    }


def _plain(output: Any) -> Any:
    """Return the text of a message, and any other output as it is."""
    return str(output.text) if isinstance(output, BaseMessage) else output


def _milliseconds(start: float) -> float:
    return (time.perf_counter() - start) * 1000
