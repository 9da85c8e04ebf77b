"""Asking back: which of two routes an input is for, and what the answer says."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import permutations, product
from typing import get_args

from pydantic import JsonValue

from qwen_allinone.model import Choice, Decision, Message, SharedQwen
from qwen_allinone.model.prompt.language import Language, language_of
from qwen_allinone.model.prompt.prompt_file import PromptFile
from qwen_allinone.router.route import Route

OTHER = "other"
"""Option of an answer that names neither route."""
_PROMPT = PromptFile.load("qwen_allinone.router", "ask_back")
_MARKS = " \t\n.,!?。，！？、()（）"


@dataclass(frozen=True)
class AskBack:
    """A question to the user which of two routes is meant, and the input that it is about.

    It lives in the conversation alone: the next turn finds it there, word for word.
    """

    text: str
    routes: tuple[Route, Route]
    language: Language
    history: Sequence[Message] = ()
    """Turns before that input."""

    @classmethod
    def about(cls, text: str, decision: Decision, routes: Iterable[Route]) -> "AskBack":
        """Return the question that tells the best two routes of a decision apart."""
        named = {route.name: route for route in routes}
        first, second = sorted(decision.probabilities, key=decision.probabilities.__getitem__, reverse=True)[:2]
        return cls(text, (named[first], named[second]), language_of(text))

    @classmethod
    def pending(cls, history: Sequence[Message], routes: Iterable[Route]) -> "AskBack | None":
        """Return the question that the last turn asked; None if it asked none of these."""
        if len(history) < 2 or (history[-2].role, history[-1].role) != ("user", "assistant"):
            return None
        asked, text = history[-1].content.strip(), history[-2].content
        for language in get_args(Language):
            opening = str(_PROMPT.entry(language, "question")).partition("$")[0]
            if not asked.startswith(opening):
                continue
            for pair in permutations(routes, 2):
                question = cls(text, pair, language, history[:-2])
                if str(question) == asked:
                    return question
        return None

    def __str__(self) -> str:
        first, second = (route.described(self.language) or route.name for route in self.routes)
        return _PROMPT.render(self.language, "question", first=first, second=second)

    def answered(self, answer: str, qwen: SharedQwen) -> Route | None:
        """Return the route that an answer names; None if it names neither, but goes on to something else."""
        bare = answer.strip(_MARKS).casefold()
        for language, (key, route) in product(get_args(Language), zip(("first", "second"), self.routes, strict=True)):
            if bare in _PROMPT.entry(language, key):
                return route
        # By itself, without the question before it, and with the prior taken out, an answer is understood best.
        question = self._question(language_of(answer))
        decided = qwen.decide(answer, {"": question}, calibration=replace(qwen.calibration, prior=True))
        return {route.name: route for route in self.routes}.get(decided[""].option)

    def _question(self, language: Language) -> Choice:
        criteria: dict[str, JsonValue] = {route.name: route.described(language) for route in self.routes}
        criteria[OTHER] = _PROMPT.render(language, "other")
        return Choice(instructions=_PROMPT.render(language, "instructions"), criteria=criteria)
