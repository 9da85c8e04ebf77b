"""The questions a model can decide: pick one, grade on levels, yes or no.

Names and fields are those of ``langchain_core.decisions`` (langchain-core 1.8), so that its question objects can be
passed as well; langchain-core 1.7 does not have them.
"""

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal, Protocol, Self, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from qwen_allinone.errors import QuestionError
from qwen_allinone.model.decisions.examples import Examples
from qwen_allinone.model.engine.base import RenderedQuestion
from qwen_allinone.model.prompt.language import Language
from qwen_allinone.model.prompt.prompt_file import PromptFile

_PROMPTS = PromptFile.load("qwen_allinone.model", "question")


class Question(Protocol):
    """Fields of a question, as in ``langchain_core.decisions``."""

    @property
    def type(self) -> str:
        """Kind of the question: ``choice``, ``score`` or ``noul``."""

    @property
    def instructions(self) -> Any:
        """Instructions: what to decide about the text."""

    @property
    def criteria(self) -> Any:
        """Options and their descriptions."""


class _FrozenModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _QuestionModel(_FrozenModel):
    examples: dict[str, tuple[str, ...]] = Field(default={}, repr=False)
    """Option to texts for which it is the answer; options of a ``Score`` are ``"0"``, ``"1"`` and so on, of a ``Noul``
    ``yes`` and ``no``. With examples a question is learned, without it is scored."""

    @model_validator(mode="after")
    def _examples_fit(self) -> Self:
        self._learnable  # noqa: B018  # raises what is wrong with them
        return self

    @property
    def describes(self) -> bool:
        """True if a description says what an option without examples is like: not of levels, nor of yes and no."""
        return False

    @cached_property
    def _learnable(self) -> Examples | None:
        return Examples.of_options(self.examples, descriptions_of(cast(Question, self)), describe=self.describes)


class Choice(_QuestionModel):
    """Pick one of several labels."""

    type: Literal["choice"] = "choice"
    instructions: JsonValue
    criteria: dict[str, JsonValue] = Field(min_length=1)
    """Label to description; ``None`` where the label says it all."""

    @property
    def describes(self) -> bool:
        """True: a label without examples is known by its description."""
        return True


class Score(_QuestionModel):
    """Grade on ordered levels, the lowest first, numbered from zero."""

    type: Literal["score"] = "score"
    instructions: JsonValue
    criteria: list[JsonValue] = Field(min_length=2)
    """One description per level."""


class NoulCriteria(_FrozenModel):
    """Meanings of yes and no."""

    true: JsonValue = None
    false: JsonValue = None

    @model_validator(mode="after")
    def _both_or_neither(self) -> "NoulCriteria":
        if (self.true is None) != (self.false is None):
            raise ValueError("describe both outcomes or neither")
        return self


class Noul(_QuestionModel):
    """Yes or no."""

    type: Literal["noul"] = "noul"
    instructions: JsonValue
    criteria: NoulCriteria | None = None


def examples_of(question: Question) -> Examples | None:
    """Return the examples of a question; None if it has none, as those of ``langchain_core.decisions``."""
    return question._learnable if isinstance(question, _QuestionModel) else None


def descriptions_of(question: Question) -> dict[str, str | None]:
    """Return every option of a question with its description."""
    criteria = question.criteria
    if question.type == "choice":
        return {label: _described(words) for label, words in criteria.items()}
    if question.type == "score":
        return {str(level): _described(words) for level, words in enumerate(criteria)}
    if criteria is None or criteria.true is None:
        return {"yes": None, "no": None}
    return {"yes": as_text(criteria.true), "no": as_text(criteria.false)}


def render_question(question: Question, language: Language, *, order: Sequence[int] | None = None) -> RenderedQuestion:
    """Lay a question out in one language, its options in the given order.

    Args:
        question: what to ask.
        language: of the frame around the instructions; the instructions themselves stay as they are.
        order: a permutation of the option indices; only the options of a ``Choice`` are ever moved.

    Raises:
        QuestionError: a label is blank, or two labels are equal once stripped.
    """
    instructions = as_text(question.instructions)
    if not instructions.strip():
        raise QuestionError("a question needs instructions; they are blank")
    if question.type == "choice":
        return _render_choice(question, instructions, language, order)
    if question.type == "score":
        return _render_score(question, instructions, language)
    if question.type == "noul":
        return _render_noul(question, instructions, language)
    raise QuestionError(f"questions of type {question.type!r} are not decided here; allowed: choice, score, noul")


def _render_choice(
    question: Question, instructions: str, language: Language, order: Sequence[int] | None
) -> RenderedQuestion:
    labels = list(question.criteria)
    stripped = [label.strip() for label in labels]
    if not labels or not all(stripped) or len(set(stripped)) < len(stripped):
        raise QuestionError(f"options must be present, distinct and not blank; given: {labels}")
    listed = [labels[index] for index in (order if order is not None else range(len(labels)))]
    descriptions = {label: _described(question.criteria[label]) for label in listed}
    lines = [_option_line(label.strip(), description, language) for label, description in descriptions.items()]
    text = _PROMPTS.render(language, "choice", instructions=instructions, options="\n".join(lines))
    return RenderedQuestion(text, {label: label.strip() for label in listed}, "choice", instructions, descriptions)


def _render_score(question: Question, instructions: str, language: Language) -> RenderedQuestion:
    descriptions = descriptions_of(question)
    lines = [_option_line(level, description, language) for level, description in descriptions.items()]
    text = _PROMPTS.render(language, "score", instructions=instructions, options="\n".join(lines))
    return RenderedQuestion(text, {level: level for level in descriptions}, "score", instructions, descriptions)


def _render_noul(question: Question, instructions: str, language: Language) -> RenderedQuestion:
    descriptions = descriptions_of(question)
    if descriptions["yes"] is None:
        text = _PROMPTS.render(language, "noul", instructions=instructions)
    else:
        meanings = {"true": descriptions["yes"], "false": descriptions["no"]}
        text = _PROMPTS.render(language, "noul_criteria", instructions=instructions, **meanings)
    options = {name: str(_PROMPTS.entry(language, name)) for name in descriptions}
    return RenderedQuestion(text, options, "noul", instructions, descriptions)


def _described(value: Any) -> str | None:
    return None if value is None else as_text(value)


def _option_line(label: str, description: str | None, language: Language) -> str:
    if not description:
        return _PROMPTS.render(language, "option_bare", label=label)
    return _PROMPTS.render(language, "option", label=label, description=description)


def as_text(value: Any) -> str:
    """Return instructions and descriptions as the model reads them: text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
