"""Decisions: questions laid out, the likelihoods of their options corrected; about one text or about thousands."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from threading import Lock

from qwen_allinone.errors import QuestionError, QwenAllInOneError
from qwen_allinone.model.calibration import Calibration, per_token, without_prior
from qwen_allinone.model.capabilities import Layout
from qwen_allinone.model.chatml import Message
from qwen_allinone.model.decision import Acceptance, Decision
from qwen_allinone.model.language import language_of
from qwen_allinone.model.likelihoods import Asked, Likelihoods
from qwen_allinone.model.prompt_layout import PromptLayout
from qwen_allinone.model.questions import Question, RenderedQuestion, render_question
from qwen_allinone.model.scorer import LeafScores

_CONTENT_FREE = "N/A"
_MOST_PRIORS = 512
_WINDOW = 256
"""Texts whose likelihoods are asked for at once."""


@dataclass(frozen=True)
class Manner:
    """How questions are asked and their answers judged."""

    layout: Layout | None = None
    calibration: Calibration = field(default_factory=Calibration)
    acceptance: Acceptance | None = None


@dataclass(frozen=True)
class _Case:
    """A text with its questions in every order in which they are asked."""

    questions: Mapping[str, Question]
    rendered: Mapping[str, list[RenderedQuestion]]
    asked: Asked


class Decider:
    """Decides by likelihood; safe to use from many threads.

    Args:
        prompts: lays conversations out.
        likelihoods: of options.
    """

    def __init__(self, prompts: PromptLayout, likelihoods: Likelihoods) -> None:
        self._prompts = prompts
        self._likelihoods = likelihoods
        self._priors: dict[tuple[object, ...], tuple[float, ...]] = {}
        self._mutex = Lock()

    def forget(self) -> None:
        """Drop the priors that were kept."""
        with self._mutex:
            self._priors.clear()

    def decide(
        self, text: str, questions: Mapping[str, Question], manner: Manner, *, history: Sequence[Message] = ()
    ) -> dict[str, Decision]:
        """Decide all questions about a text from one reading of it."""
        case = self._case(text, questions, manner, history)
        return self._decided(case, self._likelihoods.of(case.asked), manner)

    def decide_all(
        self, texts: Iterable[tuple[str, Mapping[str, Question]]], manner: Manner, *, batch_tokens: int
    ) -> Iterator[dict[str, Decision] | QwenAllInOneError]:
        """The decisions about each text, in the order of the texts, or the error that came instead."""
        rest = iter(texts)
        while window := list(islice(rest, _WINDOW)):
            cases = [self._case_or_error(text, questions, manner) for text, questions in window]
            asked = [each.asked for each in cases if isinstance(each, _Case)]
            logs = self._likelihoods.of_all(asked, batch_tokens=batch_tokens)
            for each in cases:
                yield self._decided_or_error(each, next(logs), manner) if isinstance(each, _Case) else each

    def likelihoods(
        self, text: str, questions: Mapping[str, Question], manner: Manner, *, history: Sequence[Message], packed: bool
    ) -> dict[str, dict[str, float]]:
        """Log-likelihood of every option of every question, in the first order in which each is asked."""
        case = self._case(text, questions, manner, history)
        logs = self._likelihoods.of(case.asked, packed=packed)
        first = [orders[0] for orders in case.rendered.values()]
        return {
            name: dict(zip(each.options, log, strict=True))
            for name, each, log in zip(case.rendered, first, logs, strict=True)
        }

    def _case(
        self, text: str, questions: Mapping[str, Question], manner: Manner, history: Sequence[Message] = ()
    ) -> _Case:
        if not questions:
            raise QuestionError("no questions were given; name at least one")
        language = language_of(text)
        rendered = {
            name: [render_question(question, language, order=order) for order in manner.calibration.orders(question)]
            for name, question in questions.items()
        }
        messages = self._prompts.conversation(text, history, language)
        every = [each for orders in rendered.values() for each in orders]
        return _Case(questions, rendered, Asked(messages, every, manner.layout, language))

    def _case_or_error(self, text: str, questions: Mapping[str, Question], manner: Manner) -> _Case | QwenAllInOneError:
        try:
            return self._case(text, questions, manner)
        except QwenAllInOneError as error:
            return error

    def _decided(self, case: _Case, logs: LeafScores, manner: Manner) -> dict[str, Decision]:
        corrections = manner.calibration
        if corrections.prior:
            logs = without_prior(logs, self._prior(case))
        if corrections.per_token:
            logs = per_token(logs, [self._likelihoods.tokens(each) for each in case.asked.questions])
        rest = iter(logs)
        return {
            name: Decision.of(
                corrections.probabilities(case.questions[name], orders, [next(rest) for _ in orders]),
                manner.acceptance,
            )
            for name, orders in case.rendered.items()
        }

    def _decided_or_error(
        self, case: _Case, logs: LeafScores | QwenAllInOneError, manner: Manner
    ) -> dict[str, Decision] | QwenAllInOneError:
        if isinstance(logs, QwenAllInOneError):
            return logs
        try:
            return self._decided(case, logs, manner)
        except QwenAllInOneError as error:
            return error

    def _prior(self, case: _Case) -> list[tuple[float, ...]]:
        """Scores of the options for a content-free text, computed once per question and kept for the latest ones."""
        asked = case.asked
        keys = [(each.text, tuple(each.options.items()), asked.language, asked.layout) for each in asked.questions]
        with self._mutex:
            found = {key: self._priors[key] for key in keys if key in self._priors}
        new = {key: each for key, each in zip(keys, asked.questions, strict=True) if key not in found}
        if new:
            messages = self._prompts.conversation(_CONTENT_FREE, (), asked.language)
            logs = self._likelihoods.of(Asked(messages, list(new.values()), asked.layout, asked.language))
            found |= zip(new, logs, strict=True)
            with self._mutex:
                self._priors |= {key: found[key] for key in new}
                while len(self._priors) > _MOST_PRIORS:
                    del self._priors[next(iter(self._priors))]
        return [found[key] for key in keys]
