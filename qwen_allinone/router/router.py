"""The Runnable that decides which prompt fits an input, and dispatches to the Runnable behind it."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, Literal, Self, TypeAlias

from langchain_core.messages import BaseMessageChunk
from langchain_core.runnables import AddableDict, Runnable, RunnableConfig, RunnableLambda, RunnableSerializable
from langchain_core.runnables.config import run_in_executor
from pydantic import ConfigDict, Field, PrivateAttr

from qwen_allinone.errors import EmptyTextError, InputError, NotSureError, QwenAllInOneError, UnknownRouteError
from qwen_allinone.model import Choice, Decision, SharedQwen, Threshold
from qwen_allinone.model.prompt.language import language_of
from qwen_allinone.model.prompt.messages import MessageLike, as_messages
from qwen_allinone.router.ask_back import AskBack
from qwen_allinone.router.corrections import Corrections
from qwen_allinone.router.route import Route, route_question

Action = Literal["best", "fallback", "ask", "raise"]
"""What happens to an input of which the router is not sure: its likeliest route runs, the fallback does, the user is
asked which of the likeliest two is meant, or ``NotSureError`` is raised."""
ASK = "ask"
"""Name that stands in the result where the user was asked back."""
LEARNED_TIMES = 5
"""Weight of a correction among the examples of its route."""
RouterInput: TypeAlias = str | Mapping[str, Any]
_ADDABLE: tuple[type, ...] = (str, BaseMessageChunk, AddableDict)
"""Outputs that LangChain streams in pieces, to be put together with ``+``."""


@dataclass(frozen=True)
class RouteResult:
    """A decision together with the output of the route that ran.

    Pieces of a stream add up to the whole: ``(router | f).stream(text)`` gives ``f`` what ``(router | f).invoke(text)``
    gives it.
    """

    decision: Decision
    route: str
    """The route that ran: the decision's option; the fallback, or ``ask`` for a question back, where the decision
    abstained; or what the user said when asked back."""
    output: Any

    def __add__(self, later: Self) -> Self:
        """Join two pieces of one stream."""
        if not isinstance(later, type(self)) or (later.decision, later.route) != (self.decision, self.route):
            return NotImplemented
        return replace(later, output=_join(self.output, later.output))


class PromptRouter(RunnableSerializable[RouterInput, RouteResult]):
    """Decides by the shared model; deciding and dispatching are separate methods.

    An input is a text, or a mapping with the text under ``"text"`` and earlier turns, if any, under ``"history"`` that
    is handed to the route's Runnable as it is. Config and further keyword arguments reach that Runnable too.

    Args:
        qwen: the shared model.
        routes: at least one.
        runnables: the Runnables behind the routes, by the name that a route gives.
        threshold: bounds below which a decision abstains.
        fallback: name of a route.
        ambiguous: what happens where two routes are close; by default the fallback runs if there is one, else the
            likeliest route.
        out_of_scope: what happens where an input is unlike all examples; the same by default.
        corrections: file of inputs that ``learn`` was given, which are examples from the start.
        name: of the runs in a trace.

    Raises:
        UnknownRouteError: a route's Runnable or the fallback is unknown, or there is no route.
        InputError: an action makes no sense.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    qwen: SharedQwen = Field(exclude=True, repr=False)
    routes: tuple[Route, ...]
    """The routes as they are now, in the order in which they were added; ``add`` and ``remove`` change them."""
    runnables: dict[str, Runnable[Any, Any]]
    threshold: Threshold | None = None
    fallback: str | None = None
    ambiguous: Action | None = None
    out_of_scope: Action | None = None
    corrections: Corrections | None = Field(default=None, exclude=True, repr=False)
    _change: Lock = PrivateAttr(default_factory=Lock)

    def __init__(
        self,
        qwen: SharedQwen,
        routes: Sequence[Route],
        *,
        runnables: Mapping[str, Runnable[Any, Any]],
        threshold: Threshold | None = None,
        fallback: str | None = None,
        ambiguous: Action | None = None,
        out_of_scope: Action | None = None,
        corrections: Corrections | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(  # type: ignore[call-arg]  # mypy sees the fields of the parent only
            qwen=qwen,
            routes=(),
            runnables=dict(runnables),
            threshold=threshold,
            fallback=fallback,
            ambiguous=ambiguous,
            out_of_scope=out_of_scope,
            corrections=corrections,
            name=name,
        )
        for route in routes:
            self.add(route)
        if not self.routes:
            raise UnknownRouteError("a router needs at least one route")
        if fallback is not None:
            self.route(fallback)
        elif "fallback" in {ambiguous, out_of_scope}:
            raise InputError("a router that is to fall back needs a fallback; name one of its routes")
        for text, corrected in corrections or ():
            if corrected in {route.name for route in self.routes}:  # its route may have been taken away since
                self._teach(text, corrected)

    def route(self, name: str) -> Route:
        """Return the route of that name.

        Raises:
            UnknownRouteError: there is none.
        """
        routes = self.routes
        for route in routes:
            if route.name == name:
                return route
        raise UnknownRouteError(f"no route {name!r}; there are: {', '.join(route.name for route in routes)}")

    def runnable(self, name: str) -> Runnable[Any, Any]:
        """Return the Runnable behind a route.

        Raises:
            UnknownRouteError: there is no such route.
        """
        return self.runnables[self.route(name).runnable]

    def add(self, route: Route, runnable: Runnable[Any, Any] | None = None) -> None:
        """Add a route, or replace the one of its name, from the next input on.

        Raises:
            UnknownRouteError: no Runnable is given and none is registered under the route's name for it.
        """
        if runnable is not None:
            self.runnables[route.runnable] = runnable
        if route.runnable not in self.runnables:
            known = ", ".join(self.runnables)
            raise UnknownRouteError(f"route {route.name!r} names the runnable {route.runnable!r}; there are: {known}")
        with self._change:
            named = {each.name: each for each in self.routes}
            named[route.name] = route
            self.routes = tuple(named.values())  # a new tuple: decisions under way keep theirs

    def remove(self, name: str) -> None:
        """Take a route away from the next input on.

        Raises:
            UnknownRouteError: there is no such route, or it is the last one or the fallback.
        """
        with self._change:
            self.route(name)
            if len(self.routes) == 1 or name == self.fallback:
                raise UnknownRouteError(f"route {name!r} cannot be removed: it is the last one or the fallback")
            self.routes = tuple(route for route in self.routes if route.name != name)

    def learn(self, text: str, name: str) -> None:
        """Add an input to the examples of a route, from the next input on; it leaves the others that have it.

        It is kept in the file of corrections, if the router has one.

        Raises:
            UnknownRouteError: there is no such route.
            EmptyTextError: the text is blank.
            StoreError: the file of corrections cannot be written; nothing is learned.
        """
        if not text.strip():
            raise EmptyTextError("the text is empty; give at least one character that is not white space")
        self.route(name)
        if self.corrections is not None:
            self.corrections.add(text, name)
        self._teach(text, name)
        self.qwen.fit([self.question(text)])

    def _teach(self, text: str, name: str) -> None:
        with self._change:
            self.route(name)
            self.routes = tuple(_taught(route, text.strip(), known=route.name == name) for route in self.routes)

    def question(self, text: str) -> Choice:
        """Return what the model is asked; pass it to ``SharedQwen.decide`` to ask other things on the same reading."""
        return route_question(self.routes, language_of(text))

    def decide(self, text: str, *, history: Sequence[MessageLike] = ()) -> Decision:
        """Return every route's probability and the margin, without running anything."""
        questions = {"route": self.question(text)}
        return self.qwen.decide(text, questions, history=history, threshold=self.threshold)["route"]

    def decide_all(self, texts: Iterable[str]) -> Iterator[Decision | QwenAllInOneError]:
        """Decide about many texts, several in one pass; an error takes the place of a decision."""
        asked = ((text, {"route": self.question(text)}) for text in texts)
        for answer in self.qwen.decide_all(asked, threshold=self.threshold, return_exceptions=True):
            yield answer if isinstance(answer, QwenAllInOneError) else answer["route"]

    def apply_threshold(self, decision: Decision) -> Decision:
        """Return the answer to a ``question`` that was asked elsewhere, accepted or not by this router's bounds."""
        return decision.apply_threshold(self.threshold or Threshold())

    def select(self, decision: Decision) -> str:
        """Return the name of the route that a decision leads to, or ``ask`` if the user is to be asked back.

        Raises:
            NotSureError: the decision is not accepted, and the router is to raise.
        """
        action = {"accepted": "best", "ambiguous": self.ambiguous, "out_of_scope": self.out_of_scope}[decision.state]
        action = action or ("fallback" if self.fallback else "best")
        if action == "raise":
            best = f"{decision.option} {decision.probability:.2f}"
            raise NotSureError(f"no route is sure enough (likeliest: {best}); put it in other words", decision)
        if action == "ask" and len(decision.probabilities) > 1:
            return ASK
        return self.fallback if action == "fallback" and self.fallback else decision.option

    def answering(self, name: str, text: str, decision: Decision) -> Runnable[Any, Any]:
        """Return the Runnable behind what ``select`` returned: a route's own, or one that asks the user back."""
        if name != ASK:
            return self.runnable(name)
        question = str(AskBack.about(text, decision, self.routes))
        return RunnableLambda(lambda _: question, name=ASK)

    def clarified(self, text: str, history: Sequence[MessageLike]) -> tuple[AskBack, str] | None:
        """Return what was asked back in the last turn, and the route that the text names in answer to it.

        None: nothing was asked, or the text goes on to something else.
        """
        if ASK not in (self.ambiguous, self.out_of_scope) or not history:
            return None
        asked = AskBack.pending(as_messages(history), self.routes)
        route = asked.answered(text, self.qwen) if asked else None
        return (asked, route.name) if asked and route else None

    def dispatch(
        self, input: RouterInput, decision: Decision, config: RunnableConfig | None = None, **kwargs: Any
    ) -> RouteResult:
        """Run the route that a decision leads to."""
        route = self.select(decision)
        output = self.answering(route, _text(input), decision).invoke(input, config, **kwargs)
        return RouteResult(decision, route, output)

    def invoke(self, input: RouterInput, config: RunnableConfig | None = None, **kwargs: Any) -> RouteResult:
        """Decide, then dispatch.

        Raises:
            InputError: the input is neither a text nor a mapping with one under ``"text"``.
            EmptyTextError: the text is blank.
        """
        return self._call_with_config(self._invoke, input, config, **kwargs)  # type: ignore[arg-type]

    async def ainvoke(self, input: RouterInput, config: RunnableConfig | None = None, **kwargs: Any) -> RouteResult:
        """Decide in a thread, then await the route's Runnable."""
        return await self._acall_with_config(self._ainvoke, input, config, **kwargs)  # type: ignore[arg-type]

    def stream(self, input: RouterInput, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[RouteResult]:
        """Decide, then pass on what the route's Runnable streams, each piece with the decision."""
        yield from self._transform_stream_with_config(iter([input]), self._stream, config, **kwargs)  # type: ignore[arg-type]

    async def astream(
        self, input: RouterInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[RouteResult]:
        """Stream without blocking the event loop."""

        async def inputs() -> AsyncIterator[RouterInput]:
            yield input

        pieces = self._atransform_stream_with_config(inputs(), self._astream, config, **kwargs)  # type: ignore[arg-type]
        async for piece in pieces:
            yield piece

    def _decide(self, input: RouterInput, config: RunnableConfig) -> "_Decided":
        """Decide, in a run of its own."""
        return RunnableLambda(self._decided, name="decide").invoke(input, config)

    def _decided(self, input: RouterInput) -> "_Decided":
        text = _text(input)
        if isinstance(input, Mapping) and (clarified := self.clarified(text, input.get("history") or ())):
            asked, route = clarified
            decision = self.decide(asked.text, history=asked.history)
            return _Decided({**input, "text": asked.text, "history": list(asked.history)}, decision, route)
        decision = self.decide(text)
        return _Decided(input, decision, self.select(decision))

    def _invoke(self, input: RouterInput, config: RunnableConfig, **kwargs: Any) -> RouteResult:
        found = self._decide(input, config)
        return found.result(self._behind(found).invoke(found.input, config, **kwargs))

    async def _ainvoke(self, input: RouterInput, config: RunnableConfig, **kwargs: Any) -> RouteResult:
        found = await run_in_executor(config, self._decide, input, config)
        return found.result(await self._behind(found).ainvoke(found.input, config, **kwargs))

    def _behind(self, found: "_Decided") -> Runnable[Any, Any]:
        return self.answering(found.route, _text(found.input), found.decision)

    def _stream(self, inputs: Iterator[RouterInput], config: RunnableConfig, **kwargs: Any) -> Iterator[RouteResult]:
        for input in inputs:
            found = self._decide(input, config)
            for piece in self._behind(found).stream(found.input, config, **kwargs):
                yield found.result(piece)

    async def _astream(
        self, inputs: AsyncIterator[RouterInput], config: RunnableConfig, **kwargs: Any
    ) -> AsyncIterator[RouteResult]:
        async for input in inputs:
            found = await run_in_executor(config, self._decide, input, config)
            async for piece in self._behind(found).astream(found.input, config, **kwargs):
                yield found.result(piece)


@dataclass(frozen=True)
class _Decided:
    """An input, where it goes, and why."""

    input: RouterInput
    """As it was given; where the user was asked back, what the answer is about."""
    decision: Decision
    route: str

    def result(self, output: Any) -> RouteResult:
        return RouteResult(self.decision, self.route, output)


def _taught(route: Route, text: str, *, known: bool) -> Route:
    """Return the route with or without a text among its examples."""
    examples = {}
    for language, texts in route.examples.items():
        examples[language] = [each for each in texts if each.strip() != text]
    if known:
        language = language_of(text)
        examples[language] = [*examples.get(language, []), *[text] * LEARNED_TIMES]
    return replace(route, examples=examples)


def _text(input: object) -> str:
    text = input.get("text") if isinstance(input, Mapping) else input
    if not isinstance(text, str):
        raise InputError(f"a router takes a text, or a mapping with one under 'text'; given {type(text).__name__}")
    return text


def _join(earlier: Any, later: Any) -> Any:
    """Put two outputs together; of those that cannot be, the later one counts. None adds nothing."""
    if later is None:
        return earlier
    joins = isinstance(earlier, _ADDABLE) and isinstance(later, type(earlier))
    return earlier + later if joins else later
