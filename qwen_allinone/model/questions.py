"""The questions a model can decide: pick one, grade on levels, yes or no.

Names and fields are those of ``langchain_core.decisions`` (langchain-core 1.8), so that its question objects can be
passed as well; langchain-core 1.7 does not have them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from qwen_allinone.errors import QuestionError
from qwen_allinone.model.language import Language
from qwen_allinone.model.prompt_file import PromptFile

_PROMPTS = PromptFile.load("qwen_allinone.model", "question")


class Question(Protocol):
    """Anything with the fields of a question of ``langchain_core.decisions``."""

    @property
    def type(self) -> str:
        """One of ``choice``, ``score``, ``noul``."""

    @property
    def instructions(self) -> Any:
        """What to decide about the text."""

    @property
    def criteria(self) -> Any:
        """The options and their descriptions."""


class _QuestionModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Choice(_QuestionModel):
    """Pick one of several labels."""

    type: Literal["choice"] = "choice"
    instructions: JsonValue
    criteria: dict[str, JsonValue] = Field(min_length=1)
    """Label to description; ``None`` where the label says it all."""


class Score(_QuestionModel):
    """Grade on ordered levels, the lowest first, numbered from zero."""

    type: Literal["score"] = "score"
    instructions: JsonValue
    criteria: list[JsonValue] = Field(min_length=2)
    """One description per level."""


class NoulCriteria(_QuestionModel):
    """What yes and no mean."""

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


@dataclass(frozen=True)
class RenderedQuestion:
    """A question as the model reads it."""

    text: str
    """The instructions and the option lines."""
    options: Mapping[str, str]
    """Name of each option to the words that are scored for it, in the order in which they are listed."""
    question: Question = field(compare=False)
    """What is asked; whoever made it, it is the same if it reads the same."""

    @property
    def descriptions(self) -> dict[str, str | None]:
        """Name of each option to its description, if it has one, in the order in which they are listed."""
        criteria = self.question.criteria
        if self.question.type == "choice":
            values = [criteria[label] for label in self.options]
        elif self.question.type == "score":
            values = criteria
        else:
            values = [criteria and criteria.true, criteria and criteria.false]
        return {
            name: None if value is None else as_text(value) for name, value in zip(self.options, values, strict=True)
        }


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
    lines = "\n".join(_option_line(label.strip(), question.criteria[label], language) for label in listed)
    text = _PROMPTS.render(language, "choice", instructions=instructions, options=lines)
    return RenderedQuestion(text, {label: label.strip() for label in listed}, question)


def _render_score(question: Question, instructions: str, language: Language) -> RenderedQuestion:
    levels = [str(level) for level in range(len(question.criteria))]
    lines = "\n".join(
        _option_line(level, words, language) for level, words in zip(levels, question.criteria, strict=True)
    )
    text = _PROMPTS.render(language, "score", instructions=instructions, options=lines)
    return RenderedQuestion(text, {level: level for level in levels}, question)


def _render_noul(question: Question, instructions: str, language: Language) -> RenderedQuestion:
    criteria = question.criteria
    if criteria is None or criteria.true is None:
        text = _PROMPTS.render(language, "noul", instructions=instructions)
    else:
        text = _PROMPTS.render(
            language,
            "noul_criteria",
            instructions=instructions,
            true=as_text(criteria.true),
            false=as_text(criteria.false),
        )
    options = {name: str(_PROMPTS.entry(language, name)) for name in ("yes", "no")}
    return RenderedQuestion(text, options, question)


def _option_line(label: str, description: Any, language: Language) -> str:
    if description is None or description == "":
        return _PROMPTS.render(language, "option_bare", label=label)
    return _PROMPTS.render(language, "option", label=label, description=as_text(description))


def render_with_letters(question: RenderedQuestion, language: Language) -> str:
    """The question with a letter before each option, to be answered by one of them."""
    lines = "\n".join(
        _option_line(f"{letter}. {question.options[name]}", description, language)
        for letter, (name, description) in zip(ascii_uppercase, question.descriptions.items(), strict=False)
    )
    return _PROMPTS.render(language, "letters", instructions=as_text(question.question.instructions), options=lines)


def as_text(value: Any) -> str:
    """Instructions and descriptions as the model reads them: text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
