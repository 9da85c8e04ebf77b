"""Decisions by ``/v1/systemone``, whose questions have the form of this package's own."""

from collections.abc import Sequence
from math import log
from typing import Any

from qwen_allinone.errors import CapabilityError, QuestionError, ServerError
from qwen_allinone.model.likelihoods import Asked
from qwen_allinone.model.questions import RenderedQuestion, as_text
from qwen_allinone.model.remote.server import Server, plain
from qwen_allinone.model.scorer import LeafScores

MOST_QUESTIONS = 64
"""Of one request."""
_LEAST = 1e-12
"""What a probability of zero is taken for."""


def likelihoods(server: Server, asked: Asked, questions: Sequence[RenderedQuestion]) -> LeafScores | None:
    """Log-likelihoods of the options of each question as they are listed; None: the server has no such endpoint.

    Raises:
        CapabilityError: a layout was asked for.
        QuestionError: two options look alike without control tokens.
        ServerError: an option has no probability, or all of them have none.
    """
    _persona, *turns = asked.messages
    state: object = turns[-1].content
    if len(turns) > 1:
        state = [{"role": each.role, "content": each.content} for each in turns]
    answers = server.decide(state, {str(number): _question(each) for number, each in enumerate(questions)})
    if answers is None:
        return None
    if asked.layout is not None:
        raise CapabilityError("where a question stands is the server's choice; leave layout out")
    return tuple(_logs(each, answers[str(number)]) for number, each in enumerate(questions))


def _question(question: RenderedQuestion) -> dict[str, Any]:
    asked = {"type": question.question.type, "instructions": as_text(question.question.instructions)}
    described = question.descriptions
    if asked["type"] == "choice":
        if len(set(map(plain, question.options.values()))) < len(question.options):
            raise QuestionError(f"options look alike once control tokens are plain; given: {list(question.options)}")
        return {**asked, "criteria": {words: described[name] for name, words in question.options.items()}}
    if asked["type"] == "score":
        return {**asked, "criteria": list(described.values())}
    if described["yes"] is None:
        return asked
    return {**asked, "criteria": {"true": described["yes"], "false": described["no"]}}


def _logs(question: RenderedQuestion, answer: dict[str, float]) -> tuple[float, ...]:
    names = [plain(words) if question.question.type == "choice" else name for name, words in question.options.items()]
    missing = [name for name in names if name not in answer]
    if missing:
        raise ServerError(f"the server gave no probability of {', '.join(missing)}; see its log")
    if not any(answer[name] for name in names):
        raise ServerError(f"the server gave {', '.join(names)} a probability of 0 each; see its log")
    return tuple(log(max(answer[name], _LEAST)) for name in names)
