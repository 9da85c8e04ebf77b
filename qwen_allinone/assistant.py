"""All of it put together: what the command line talks to."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable
from pydantic_core import to_jsonable_python

from qwen_allinone import settings
from qwen_allinone.model import Decision, Message, SharedQwen
from qwen_allinone.model.prompt.language import language_of
from qwen_allinone.router import PromptRouter, Route, builtin_routes
from qwen_allinone.tools import ChatTool, IntentTool, KeywordsTool, Sentiment, SentimentTool, SummaryTool

if TYPE_CHECKING:
    from qwen_allinone.memory import LongTermMemory

_RECALLED = 4
_SHARE = 4
"""History and recalled texts may each fill one of this many parts of the context window."""


@dataclass(frozen=True)
class Turn:
    """One input with everything that was decided about it, and the answer."""

    text: str
    sentiment: Sentiment
    decision: Decision
    route: str
    output: Any
    """What the route's Runnable gave: text from chat, a typed result from the other tools."""
    recalled: tuple[str, ...]
    """What was remembered of this user for this text, the most similar first."""
    prompt: str
    """The note for the reply, recalled lines included; a route that writes no reply has no use for it."""
    model: str
    truncated_tokens: int
    """Tokens in the middle of the text that decisions and reply did not see; 0 unless the text is long."""
    timings_ms: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """As plain values, for ``json.dumps``."""
        return {
            "route": self.route,
            "probabilities": dict(self.decision.probabilities),
            "margin": self.decision.margin,
            "sentiment": self.sentiment.model_dump(exclude={"polarity"}),
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


@dataclass
class OpenTurn:
    """A turn whose mood and route are decided and whose answer is still to come.

    Iterate over ``pieces`` to get the answer as it is written, then call ``finish``.
    """

    text: str
    user: str | None
    sentiment: Sentiment
    decision: Decision
    route: str
    recalled: tuple[str, ...]
    prompt: str
    truncated_tokens: int
    runnable: Runnable[Any, Any]
    input: Mapping[str, Any]
    timings_ms: dict[str, float] = field(default_factory=dict)
    output: Any = None

    def pieces(self) -> Iterator[str]:
        """The answer piece by piece; a result that is not text comes as one piece."""
        start = time.perf_counter()
        self.output = ""
        for piece in self.runnable.stream(self.input):
            words = str(piece.text) if isinstance(piece, BaseMessage) else piece
            joins = isinstance(words, str) and isinstance(self.output, str)
            self.output = self.output + words if joins else words
            if words is not None:
                yield str(words)
        if isinstance(self.output, str):
            self.output = self.output.strip()
        self.timings_ms["answer"] = _milliseconds(start)


class Assistant:
    """Reads an input once, knows its mood, routes it, answers it and remembers it.

    Args:
        qwen: the shared model.
        router: decides and dispatches.
        home: folder of the long-term memory, opened when a user is first named; by default the environment's.
    """

    def __init__(self, qwen: SharedQwen, router: PromptRouter, *, home: Path | None = None) -> None:
        self.qwen = qwen
        self.router = router
        self._home = home
        self._chat = ChatTool(qwen=qwen)

    @classmethod
    def default(
        cls,
        qwen: SharedQwen | None = None,
        *,
        routes: Sequence[Route] = (),
        home: Path | None = None,
        runnables: Mapping[str, Runnable[Any, Any]] | None = None,
    ) -> "Assistant":
        """The four default routes over their tools.

        Args:
            qwen: by default the model that the environment names, or the bundled one.
            routes: added to the default ones; one of the same name replaces it.
            home: folder of the long-term memory; by default the environment's.
            runnables: what added routes may name besides ``sentiment``, ``chat``, ``intent``, ``summary`` and
                ``keywords``.
        """
        shared = qwen or SharedQwen.load(settings.model_name())
        tools: dict[str, Runnable[Any, Any]] = {
            "sentiment": SentimentTool(qwen=shared),
            "chat": ChatTool(qwen=shared),
            "intent": IntentTool(qwen=shared),
            "summary": SummaryTool(qwen=shared),
            "keywords": KeywordsTool(qwen=shared),
        }
        router = PromptRouter(shared, [*builtin_routes(), *routes], runnables=tools | dict(runnables or {}))
        return cls(shared, router, home=home)

    @cached_property
    def memory(self) -> "LongTermMemory":
        """What users said before, opened on first use."""
        from qwen_allinone.memory import LongTermMemory, load_embedder

        return LongTermMemory(self._home or settings.home(), load_embedder(settings.embedder_name()))

    def invoke(self, text: str, *, user: str | None = None, history: Sequence[Message] = ()) -> Turn:
        """Decide, answer and remember.

        Args:
            text: the input.
            user: whose memory to recall from and to add to; None: no memory is touched.
            history: earlier turns of this conversation.

        Raises:
            EmptyTextError: the text is blank.
            StoreBusyError: another process held the memory for too long.
        """
        turn = self.begin(text, user=user, history=history)
        for _ in turn.pieces():
            pass
        return self.finish(turn)

    def begin(
        self, text: str, *, user: str | None = None, history: Sequence[Message] = (), reply_to_opinions: bool = False
    ) -> OpenTurn:
        """Decide mood and route on one reading, and recall; the answer is yet to be written.

        Args:
            text: the input.
            user: whose memory to recall from.
            history: earlier turns; the oldest are left out where they exceed a quarter of the context window.
            reply_to_opinions: answer an opinion with a reply instead of its mood alone, as a conversation would.
        """
        start = time.perf_counter()
        history = self._recent(history)
        questions = {"route": self.router.question(text), **SentimentTool.questions(text)}
        decided = self.qwen.decide(text, questions, history=history)
        sentiment = Sentiment.of(decided["mood"], decided["intensity"])
        decision = self.router.judged(decided["route"])
        timings = {"decide": _milliseconds(start)}
        recalled: tuple[str, ...] = ()
        if user is not None:
            start = time.perf_counter()
            found = self.memory.search(user, text, k=_RECALLED)
            recalled = tuple(self._shortened(each.text) for each in found if each.text != text)
            timings["recall"] = _milliseconds(start)
        route = self.router.chosen(decision).name
        return OpenTurn(
            text=text,
            user=user,
            sentiment=sentiment,
            decision=decision,
            route=route,
            recalled=recalled,
            prompt=ChatTool.notes(language_of(text), memories=recalled, comfort=sentiment.upset),
            truncated_tokens=self.qwen.truncate(text).truncated_tokens,
            runnable=self._chat if reply_to_opinions and route == "sentiment" else self.router.runnable(route),
            input={"text": text, "history": list(history), "memories": list(recalled), "comfort": sentiment.upset},
            timings_ms=timings,
        )

    def finish(self, turn: OpenTurn) -> Turn:
        """Remember what the user said, and close the turn."""
        if turn.user is not None:
            start = time.perf_counter()
            self.memory.add(turn.user, turn.text)
            turn.timings_ms["remember"] = _milliseconds(start)
        turn.timings_ms["total"] = sum(spent for step, spent in turn.timings_ms.items() if step != "total")
        return Turn(
            text=turn.text,
            sentiment=turn.sentiment,
            decision=turn.decision,
            route=turn.route,
            output=turn.output,
            recalled=turn.recalled,
            prompt=turn.prompt,
            model=self.qwen.name,
            truncated_tokens=turn.truncated_tokens,
            timings_ms=turn.timings_ms,
        )

    def analyze(self, text: str, *, history: Sequence[Message] = ()) -> Analysis:
        """The mood of a text and a reply to it, whatever its route would be."""
        history = self._recent(history)
        decided = self.qwen.decide(text, SentimentTool.questions(text), history=history)
        sentiment = Sentiment.of(decided["mood"], decided["intensity"])
        reply = self._chat.invoke({"text": text, "history": list(history), "comfort": sentiment.upset})
        return Analysis(sentiment, str(reply))

    def _recent(self, history: Sequence[Message]) -> Sequence[Message]:
        """The latest turns that leave room for text, questions and reply."""
        room = self.qwen.context_window // _SHARE
        count = 0
        for message in reversed(history):
            room -= len(self.qwen.chat.turn(message))
            if room < 0:
                break
            count += 1
        return history[len(history) - count :]

    def _shortened(self, memory: str) -> str:
        ids = self.qwen.chat.encode(memory)
        room = self.qwen.context_window // _SHARE // _RECALLED
        return memory if len(ids) <= room else self.qwen.chat.decode(ids[:room]).rstrip("\ufffd") + "…"


def _milliseconds(start: float) -> float:
    return (time.perf_counter() - start) * 1000
