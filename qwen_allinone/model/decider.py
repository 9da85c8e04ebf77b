"""Decisions: questions laid out, their options scored, the scores corrected; about one text or about thousands."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from qwen_allinone.errors import QuestionError, QwenAllInOneError
from qwen_allinone.model.branches import Inquiry
from qwen_allinone.model.calibration import Calibration, per_token, without_prior
from qwen_allinone.model.capabilities import Layout
from qwen_allinone.model.chatml import Message
from qwen_allinone.model.decision import Acceptance, Decision
from qwen_allinone.model.fair_lock import FairLock
from qwen_allinone.model.language import Language, language_of
from qwen_allinone.model.merged_scorer import MergedScorer
from qwen_allinone.model.prompt_layout import PromptLayout
from qwen_allinone.model.questions import Question, RenderedQuestion, render_question
from qwen_allinone.model.scorer import LeafScores, Scorer

_CONTENT_FREE = "N/A"
_MOST_PRIORS = 512
_WINDOW = 256
"""Texts that are sorted by length before they are cut into batches."""


@dataclass(frozen=True)
class Manner:
    """How questions are asked and their answers judged."""

    layout: Layout | None = None
    calibration: Calibration = field(default_factory=Calibration)
    acceptance: Acceptance | None = None


@dataclass(frozen=True)
class _Asked:
    """A text with its questions in every order in which they are asked."""

    language: Language
    questions: Mapping[str, Question]
    rendered: Mapping[str, list[RenderedQuestion]]
    inquiries: list[Inquiry]

    @property
    def every(self) -> list[RenderedQuestion]:
        return [each for orders in self.rendered.values() for each in orders]


class Decider:
    """Decides by likelihood; safe to use from many threads.

    Args:
        prompts: lays questions out.
        scorer: scores options.
        lock: held while the model works.
    """

    def __init__(self, prompts: PromptLayout, scorer: Scorer, lock: FairLock) -> None:
        self._prompts = prompts
        self._scorer = scorer
        self._lock = lock
        self._merged = MergedScorer(scorer, lock)
        self._priors: dict[tuple[object, ...], tuple[float, ...]] = {}

    def forget(self) -> None:
        """Drop the priors that were kept."""
        with self._lock:
            self._priors.clear()

    def decide(
        self, text: str, questions: Mapping[str, Question], manner: Manner, *, history: Sequence[Message] = ()
    ) -> dict[str, Decision]:
        """Decide all questions about a text from one reading of it."""
        asked = self._asked(text, questions, manner, history)
        return self._decided(asked, self._score(asked.inquiries), manner)

    def decide_all(
        self, texts: Iterable[tuple[str, Mapping[str, Question]]], manner: Manner, *, batch_tokens: int
    ) -> Iterator[dict[str, Decision] | QwenAllInOneError]:
        """The decisions about each text, in the order of the texts, or the error that came instead."""
        rest = iter(texts)
        while window := list(islice(rest, _WINDOW)):
            asked = [self._asked_or_error(text, questions, manner) for text, questions in window]
            scores = self._score_all([each for each in asked if isinstance(each, _Asked)], batch_tokens)
            for each in asked:
                yield self._decided_or_error(each, next(scores), manner) if isinstance(each, _Asked) else each

    def likelihoods(
        self, text: str, questions: Mapping[str, Question], manner: Manner, *, history: Sequence[Message], packed: bool
    ) -> dict[str, dict[str, float]]:
        """Log-likelihood of every option of every question, in the first order in which each is asked."""
        asked = self._asked(text, questions, manner, history)
        logs = self._score(asked.inquiries) if packed else self._score_alone(asked.inquiries)
        first = [orders[0] for orders in asked.rendered.values()]
        return {
            name: dict(zip(each.options, log, strict=True))
            for name, each, log in zip(asked.rendered, first, logs, strict=True)
        }

    def _asked(
        self, text: str, questions: Mapping[str, Question], manner: Manner, history: Sequence[Message] = ()
    ) -> _Asked:
        if not questions:
            raise QuestionError("no questions were given; name at least one")
        language = language_of(text)
        rendered = {
            name: [render_question(question, language, order=order) for order in manner.calibration.orders(question)]
            for name, question in questions.items()
        }
        asked = _Asked(language, questions, rendered, [])
        messages = self._prompts.conversation(text, history, language)
        return replace(asked, inquiries=self._prompts.inquiries(messages, asked.every, manner.layout))

    def _asked_or_error(
        self, text: str, questions: Mapping[str, Question], manner: Manner
    ) -> _Asked | QwenAllInOneError:
        try:
            return self._asked(text, questions, manner)
        except QwenAllInOneError as error:
            return error

    def _decided(self, asked: _Asked, logs: LeafScores, manner: Manner) -> dict[str, Decision]:
        corrections = manner.calibration
        if corrections.prior:
            logs = without_prior(logs, self._prior(asked.every, asked.language, manner.layout))
        if corrections.per_token:
            logs = per_token(logs, [list(map(len, self._prompts.leaves(each))) for each in asked.every])
        rest = iter(logs)
        return {
            name: Decision.of(
                corrections.probabilities(asked.questions[name], orders, [next(rest) for _ in orders]),
                manner.acceptance,
            )
            for name, orders in asked.rendered.items()
        }

    def _decided_or_error(
        self, asked: _Asked, logs: LeafScores | QwenAllInOneError, manner: Manner
    ) -> dict[str, Decision] | QwenAllInOneError:
        if isinstance(logs, QwenAllInOneError):
            return logs
        try:
            return self._decided(asked, logs, manner)
        except QwenAllInOneError as error:
            return error

    def _score(self, inquiries: Sequence[Inquiry]) -> LeafScores:
        """Scores of all branches, one inquiry after the other."""
        return tuple(log for each in self._merged.score(inquiries) for log in each)

    def _score_alone(self, inquiries: Sequence[Inquiry]) -> LeafScores:
        """The same, everything read anew for each option."""
        with self._lock:
            scores = [self._scorer.score_one_by_one(each.prefix, each.branches) for each in inquiries]
        return tuple(log for each in scores for log in each)

    def _score_all(self, asked: Sequence[_Asked], batch_tokens: int) -> Iterator[LeafScores | QwenAllInOneError]:
        """The same for each text; texts of one language and of like length share a pass."""
        places = [
            (each.language, inquiry.size, number, place)
            for number, each in enumerate(asked)
            for place, inquiry in enumerate(each.inquiries)
        ]
        found: dict[tuple[int, int], LeafScores | QwenAllInOneError] = {}
        for batch in _batches(sorted(places), batch_tokens):
            scores = self._scores_or_errors([asked[number].inquiries[place] for _, _, number, place in batch])
            found |= {(number, place): log for (_, _, number, place), log in zip(batch, scores, strict=True)}
        return (
            _joined([found[number, place] for place in range(len(each.inquiries))]) for number, each in enumerate(asked)
        )

    def _scores_or_errors(self, inquiries: Sequence[Inquiry]) -> Sequence[LeafScores | QwenAllInOneError]:
        """Scores of each, in one pass, or one after the other where that fails."""
        try:
            with self._lock:
                return self._scorer.score_all(inquiries)
        except QwenAllInOneError as error:
            if len(inquiries) == 1:
                return [error]
        return [each for inquiry in inquiries for each in self._scores_or_errors([inquiry])]

    def _prior(
        self, questions: Sequence[RenderedQuestion], language: Language, layout: Layout | None
    ) -> list[tuple[float, ...]]:
        """Scores of the options for a content-free text, computed once per question and kept for the latest ones."""
        keys = [(question.text, tuple(question.options.items()), language, layout) for question in questions]
        with self._lock:
            new = {key: each for key, each in zip(keys, questions, strict=True) if key not in self._priors}
            if new:
                messages = self._prompts.conversation(_CONTENT_FREE, (), language)
                logs = self._score(self._prompts.inquiries(messages, list(new.values()), layout))
                self._priors |= zip(new, logs, strict=True)
            found = [self._priors[key] for key in keys]
            while len(self._priors) > _MOST_PRIORS:
                del self._priors[next(iter(self._priors))]
        return found


def _joined(parts: Sequence[LeafScores | QwenAllInOneError]) -> LeafScores | QwenAllInOneError:
    """The scores of all inquiries about a text, or the first error."""
    joined: list[tuple[float, ...]] = []
    for each in parts:
        if isinstance(each, QwenAllInOneError):
            return each
        joined += each
    return tuple(joined)


_Place = tuple[Language, int, int, int]


def _batches(places: Sequence[_Place], tokens: int) -> Iterator[list[_Place]]:
    """Runs of one language that fill a batch each, and at least one; the first two entries are language and size."""
    batch: list[_Place] = []
    for place in places:
        language, size, *_ = place
        if batch and (batch[0][0] != language or (len(batch) + 1) * size > tokens):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch
