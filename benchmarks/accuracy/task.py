"""What the model is asked: texts, each with a question and the right answer."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from qwen_allinone.errors import QwenAllInOneError
from qwen_allinone.eval import LabelledRow, LabelledSet, Sample
from qwen_allinone.model import Calibration, Choice, Decision, Question, SharedQwen
from qwen_allinone.model.language import language_of
from qwen_allinone.model.prompt_file import PromptFile
from qwen_allinone.router import Route, shipped_routes
from qwen_allinone.router.question import route_question
from qwen_allinone.tools import IntentTool
from qwen_allinone.tools.sentiment import by_polarity, mood_question

T = TypeVar("T")
_INTENT = PromptFile.load("qwen_allinone.tools", "intent")


@dataclass(frozen=True)
class Exercise:
    """A text with one question about it."""

    row: LabelledRow
    question: Question
    in_labels: Callable[[Decision], Decision] = lambda decision: decision
    """Puts the row's labels in place of the question's options."""

    @classmethod
    def route(cls, row: LabelledRow, routes: Sequence[Route] = ()) -> "Exercise":
        """Which of the default routes, and of these besides, the text belongs to."""
        return cls(row, route_question([*shipped_routes(), *routes], language_of(row.text)))

    @classmethod
    def mood(cls, row: LabelledRow) -> "Exercise":
        """Whether the text is positive or negative."""
        return cls(row, mood_question(language_of(row.text)), by_polarity)

    @classmethod
    def intent(cls, row: LabelledRow, candidates: Iterable[str]) -> "Exercise":
        """Which of the candidates the text wants."""
        instructions = _INTENT.render(language_of(row.text), "instructions")
        return cls(row, Choice(instructions=instructions, criteria=dict.fromkeys(candidates)))


@dataclass(frozen=True)
class Task:
    """Exercises of one kind."""

    name: str
    exercises: tuple[Exercise, ...]
    calibration: Calibration
    """The corrections with which the toolkit itself asks this."""

    def samples(self, qwen: SharedQwen) -> list[Sample]:
        """Every exercise judged; one that the model refuses is unscored, never wrong."""
        asked = ((exercise.row.text, {self.name: exercise.question}) for exercise in self.exercises)
        answers = qwen.decide_all(asked, calibration=self.calibration)
        return [self._sample(*each) for each in zip(self.exercises, answers, strict=True)]

    def _sample(self, exercise: Exercise, answer: dict[str, Decision] | QwenAllInOneError) -> Sample:
        if isinstance(answer, QwenAllInOneError):
            return Sample(exercise.row, error=f"{type(answer).__name__}: {answer}")
        return Sample(exercise.row, exercise.in_labels(answer[self.name]))


def plain(qwen: SharedQwen) -> Calibration:
    """How route, mood and yes or no are asked."""
    return qwen.calibration


def route_task(qwen: SharedQwen, rows: Iterable[LabelledRow] | None = None) -> Task:
    """The default routes, by default over the shipped set."""
    chosen = LabelledSet.builtin("routes").rows if rows is None else rows
    return Task("route", tuple(map(Exercise.route, chosen)), plain(qwen))


def mood_task(qwen: SharedQwen, rows: Iterable[LabelledRow] | None = None) -> Task:
    """The mood, by default over the shipped set."""
    chosen = LabelledSet.builtin("sentiment").rows if rows is None else rows
    return Task("mood", tuple(map(Exercise.mood, chosen)), plain(qwen))


def intent_task(qwen: SharedQwen, exercises: Iterable[Exercise]) -> Task:
    """The intent, with the corrections of the intent tool."""
    return Task("intent", tuple(exercises), IntentTool(qwen=qwen).corrections)


def as_given(calibration: Calibration) -> Calibration:
    """The same corrections, the options listed in the caller's order."""
    return replace(calibration, order="given")


def drawn(items: Sequence[T], most: int) -> list[T]:
    """At most so many, always the same."""
    return random.Random(0).sample(items, min(most, len(items)))
