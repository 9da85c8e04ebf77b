"""The Runnable that decides which prompt fits an input, and dispatches to the Runnable behind it."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import RLock
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import run_in_executor

from qwen_allinone.errors import InputError, QwenAllInOneError, UnknownRouteError
from qwen_allinone.model import Choice, Decision, Message, SharedQwen, Threshold
from qwen_allinone.model.prompt.language import language_of
from qwen_allinone.router.question import route_question
from qwen_allinone.router.route import Route


@dataclass(frozen=True)
class Routed:
    """A decision together with what the chosen route made of the input."""

    decision: Decision
    route: str
    """The route that ran: the decision's option, or the fallback where the decision abstained."""
    output: Any


class PromptRouter(Runnable[Any, Routed]):
    """Decides by the shared model; deciding and dispatching are separate methods.

    An input is a text, or a mapping with the text under ``"text"`` that is handed to the route's Runnable as it is.
    Config and further keyword arguments reach that Runnable too.

    Args:
        qwen: the shared model.
        routes: at least one.
        runnables: the Runnables behind the routes, by the name that a route gives.
        threshold: below these bounds a decision abstains and ``fallback`` runs.
        fallback: name of a route; by default an abstaining decision's best route runs all the same.

    Raises:
        UnknownRouteError: a route's Runnable or the fallback is unknown.
    """

    def __init__(
        self,
        qwen: SharedQwen,
        routes: Sequence[Route],
        *,
        runnables: Mapping[str, Runnable[Any, Any]],
        threshold: Threshold | None = None,
        fallback: str | None = None,
    ) -> None:
        self._qwen = qwen
        self._runnables = dict(runnables)
        self._threshold = threshold
        self._fallback = fallback
        self._routes: dict[str, Route] = {}
        self._lock = RLock()
        for route in routes:
            self.add(route)
        if not self._routes:
            raise UnknownRouteError("a router needs at least one route")
        if fallback is not None:
            self.route(fallback)

    @property
    def routes(self) -> tuple[Route, ...]:
        """The routes as they are now, in the order in which they were added."""
        with self._lock:
            return tuple(self._routes.values())

    def route(self, name: str) -> Route:
        """The route of that name.

        Raises:
            UnknownRouteError: there is none.
        """
        with self._lock:
            if name not in self._routes:
                raise UnknownRouteError(f"no route {name!r}; there are: {', '.join(self._routes)}")
            return self._routes[name]

    def add(self, route: Route, runnable: Runnable[Any, Any] | None = None) -> None:
        """Add a route, or replace the one of its name, from the next input on.

        Raises:
            UnknownRouteError: no Runnable is given and none is registered under the route's name for it.
        """
        with self._lock:
            if runnable is not None:
                self._runnables[route.runnable] = runnable
            if route.runnable not in self._runnables:
                known = ", ".join(self._runnables)
                raise UnknownRouteError(
                    f"route {route.name!r} names the runnable {route.runnable!r}; there are: {known}"
                )
            self._routes[route.name] = route

    def remove(self, name: str) -> None:
        """Take a route away from the next input on.

        Raises:
            UnknownRouteError: there is no such route, or it is the last one or the fallback.
        """
        with self._lock:
            self.route(name)
            if len(self._routes) == 1 or name == self._fallback:
                raise UnknownRouteError(f"route {name!r} cannot be removed: it is the last one or the fallback")
            del self._routes[name]

    def question(self, text: str) -> Choice:
        """What the model is asked; pass it to ``SharedQwen.decide`` to ask other things on the same reading."""
        return route_question(self.routes, language_of(text))

    def decide(self, text: str, *, history: Sequence[Message] = ()) -> Decision:
        """Every route's probability and the margin, without running anything."""
        questions = {"route": self.question(text)}
        return self._qwen.decide(text, questions, history=history, threshold=self._threshold)["route"]

    def decide_all(self, texts: Iterable[str]) -> Iterator[Decision | QwenAllInOneError]:
        """The same for many texts, several in one pass; an error takes the place of a decision."""
        asked = ((text, {"route": self.question(text)}) for text in texts)
        for answer in self._qwen.decide_all(asked, threshold=self._threshold, return_exceptions=True):
            yield answer if isinstance(answer, QwenAllInOneError) else answer["route"]

    def chosen(self, decision: Decision) -> Route:
        """The route that a decision leads to."""
        return self.route(self._fallback if self._fallback and not decision.accepted else decision.option)

    def judged(self, decision: Decision) -> Decision:
        """The same decision, accepted or not by this router's bounds: for a ``question`` that was asked elsewhere."""
        return Decision.from_probabilities(decision.probabilities, self._threshold)

    def runnable(self, name: str) -> Runnable[Any, Any]:
        """What stands behind a route.

        Raises:
            UnknownRouteError: there is no such route.
        """
        return self._runnables[self.route(name).runnable]

    def dispatch(self, input: Any, decision: Decision, config: RunnableConfig | None = None, **kwargs: Any) -> Routed:
        """Run the route that a decision leads to."""
        route = self.chosen(decision)
        return Routed(decision, route.name, self.runnable(route.name).invoke(input, config, **kwargs))

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Routed:
        """Decide, then dispatch.

        Raises:
            InputError: the input is neither a text nor a mapping with one under ``"text"``.
            EmptyTextError: the text is blank.
        """
        return self._call_with_config(self._decide_and_dispatch, input, config, **kwargs)  # type: ignore[arg-type]

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Routed:
        """Decide in a thread, then await the route's Runnable."""
        return await self._acall_with_config(self._decide_and_adispatch, input, config, **kwargs)  # type: ignore[arg-type]

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Routed]:
        """Decide, then pass on what the route's Runnable streams, each piece with the decision."""
        yield from self._transform_stream_with_config(iter([input]), self._pieces, config, **kwargs)  # type: ignore[arg-type]

    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Routed]:
        """The same without blocking the event loop."""

        async def inputs() -> AsyncIterator[Any]:
            yield input

        pieces = self._atransform_stream_with_config(inputs(), self._apieces, config, **kwargs)  # type: ignore[arg-type]
        async for piece in pieces:
            yield piece

    def _decide_and_dispatch(self, input: Any, config: RunnableConfig, **kwargs: Any) -> Routed:
        return self.dispatch(input, self.decide(_text(input)), config, **kwargs)

    async def _decide_and_adispatch(self, input: Any, config: RunnableConfig, **kwargs: Any) -> Routed:
        decision = await run_in_executor(config, self.decide, _text(input))
        route = self.chosen(decision)
        return Routed(decision, route.name, await self.runnable(route.name).ainvoke(input, config, **kwargs))

    def _pieces(self, inputs: Iterator[Any], config: RunnableConfig, **kwargs: Any) -> Iterator[Routed]:
        for input in inputs:
            decision = self.decide(_text(input))
            route = self.chosen(decision)
            for piece in self.runnable(route.name).stream(input, config, **kwargs):
                yield Routed(decision, route.name, piece)

    async def _apieces(
        self, inputs: AsyncIterator[Any], config: RunnableConfig, **kwargs: Any
    ) -> AsyncIterator[Routed]:
        async for input in inputs:
            decision = await run_in_executor(config, self.decide, _text(input))
            route = self.chosen(decision)
            async for piece in self.runnable(route.name).astream(input, config, **kwargs):
                yield Routed(decision, route.name, piece)


def _text(input: Any) -> str:
    text = input.get("text") if isinstance(input, Mapping) else input
    if not isinstance(text, str):
        raise InputError(f"a router takes a text, or a mapping with one under 'text'; given {type(text).__name__}")
    return text
