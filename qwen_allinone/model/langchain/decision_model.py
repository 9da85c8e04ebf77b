"""The shared Qwen as a LangChain decision model; needs langchain-core 1.8 or later."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from langchain_core.messages import BaseMessage
from pydantic import ConfigDict, Field

from qwen_allinone import settings
from qwen_allinone.errors import InputError, MissingExtraError
from qwen_allinone.model.decisions.decision import Decision
from qwen_allinone.model.decisions.questions import Question as OwnQuestion
from qwen_allinone.model.prompt.messages import Message, message_from_langchain
from qwen_allinone.model.qwen import SharedQwen

try:
    from langchain_core.decisions import (
        Answer,
        BaseDecisionModel,
        ChoiceAnswer,
        ClassifierResponse,
        NoulAnswer,
        Question,
        ScoreAnswer,
        State,
    )
except ImportError as error:
    raise MissingExtraError(
        "langchain-core here has no decision models; pip install 'langchain-core>=1.8', or use SharedQwen.decide"
    ) from error


class QwenDecisionModel(BaseDecisionModel):
    """Answers typed questions about a text, a message, a conversation or JSON.

    The confidence of an answer is the probability of its best option. Boxes are refused: there are no images here.

    Args:
        model: name, folder or URL of a model, as for ``SharedQwen.load``; by default the one that the environment
            names, or the bundled one.
        qwen: a model that is loaded already, instead.

    Raises:
        InputError: both are given.
        ModelNotFoundError: there is no such model.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    qwen: SharedQwen = Field(exclude=True)

    def __init__(self, *, model: str | Path | None = None, qwen: SharedQwen | None = None, **fields: Any) -> None:
        if model is not None and qwen is not None:
            raise InputError("give model, a name to load, or qwen, a loaded model; not both")
        shared = SharedQwen.load(model or settings.model_name()) if qwen is None else qwen
        super().__init__(qwen=shared, model=shared.name, **fields)  # type: ignore[call-arg]

    @property
    def _provider(self) -> str:
        return "qwen-allinone"

    def _classify(self, state: State, questions: dict[str, Question]) -> ClassifierResponse:
        *history, last = _turns(state)
        asked = cast("Mapping[str, OwnQuestion]", questions)  # all but a Box, which ``decide`` refuses by its type
        decisions = self.qwen.decide(last.content, asked, history=history)
        answers = {name: _answer(questions[name], decision) for name, decision in decisions.items()}
        return ClassifierResponse(model=self.model, answers=answers)


def _answer(question: Question, decision: Decision) -> Answer:
    if question.type == "noul":
        return NoulAnswer(type="noul", noul=decision.probabilities["yes"])
    if question.type == "score":
        return ScoreAnswer(
            type="score",
            score=decision.level,
            legend=dict(enumerate(question.criteria)),
            probabilities={int(level): probability for level, probability in decision.probabilities.items()},
            confidence=decision.probability,
        )
    return ChoiceAnswer(
        type="choice",
        choice=decision.option,
        probabilities=dict(decision.probabilities),
        confidence=decision.probability,
    )


def _turns(state: State) -> list[Message]:
    """Return the state as turns; the questions are about the last one."""
    if isinstance(state, str):
        return [Message("user", state)]
    if isinstance(state, BaseMessage):
        return [message_from_langchain(state)]
    if isinstance(state, Sequence) and state and all(isinstance(each, BaseMessage) for each in state):
        return [message_from_langchain(each) for each in state if isinstance(each, BaseMessage)]
    return [Message("user", json.dumps(state, ensure_ascii=False, default=_as_json))]


def _as_json(value: object) -> Mapping[str, str]:
    if isinstance(value, BaseMessage):
        return {value.type: str(value.text)}
    raise InputError(f"a value of type {type(value).__name__!r} in the state cannot be read as JSON")
