"""From questions to decisions: about one text or about thousands, learned where there are examples, else scored."""

from collections import OrderedDict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from threading import Lock
from typing import Any, TypedDict, cast

from qwen_allinone.errors import QuestionError, QwenAllInOneError
from qwen_allinone.model.decisions.decision import Calibration, Decision, Threshold
from qwen_allinone.model.decisions.learner import LearnedQuestion, Learner
from qwen_allinone.model.decisions.questions import Question, descriptions_of, render_question
from qwen_allinone.model.engine.base import (
    Engine,
    Pending,
    Reading,
    ReadRequest,
    RenderedQuestion,
    ScoreRequest,
    Scores,
)
from qwen_allinone.model.engine.capabilities import Layout
from qwen_allinone.model.prompt.language import Language, language_of
from qwen_allinone.model.prompt.layout import PromptLayout
from qwen_allinone.model.prompt.messages import MessageLike

CONTENT_FREE = "N/A"
MAX_KEPT = 512
"""Rendered questions and priors that are kept."""
BATCH_SIZE = 256
"""Texts that are handed to the engine at once."""


class ScoringOptions(TypedDict, total=False):
    """The fields of ``ScoringConfig``, as keyword arguments."""

    layout: Layout | None
    calibration: Calibration | None
    threshold: Threshold | None
    learned: bool


@dataclass(frozen=True)
class ScoringConfig:
    """Settings of decisions."""

    layout: Layout | None = None
    """Place of the questions; None: as the model declares."""
    calibration: Calibration | None = None
    """Corrections; None: as the model declares."""
    threshold: Threshold | None = None
    """Bounds below which a decision abstains; None: it never does."""
    learned: bool = True
    """Let heads decide the questions that have examples; False: score them like all others."""


@dataclass(frozen=True)
class _Asked:
    """The questions about one text, and what the engine is asked for them."""

    questions: Mapping[str, Question]
    learned: Mapping[str, LearnedQuestion]
    read: ReadRequest | None
    score: ScoreRequest | None


@dataclass(frozen=True)
class _Pending:
    """The engine's answers for one text."""

    asked: _Asked
    reading: Pending[Reading] | None
    scores: Pending[Scores] | None

    def cancel(self) -> None:
        """Drop what was not begun."""
        for each in (self.reading, self.scores):
            if each is not None:
                each.cancel()


class Decider:
    """Decides by heads on the reading, and by the log-likelihoods of options; safe to use from many threads.

    Args:
        engine: scores.
        prompts: lays conversations out.
    """

    def __init__(self, engine: Engine, prompts: PromptLayout) -> None:
        self._engine = engine
        self._prompts = prompts
        self._calibration = Calibration.from_capabilities(engine.capabilities)
        self._rendered: OrderedDict[Hashable, list[RenderedQuestion]] = OrderedDict()
        self._priors: OrderedDict[Hashable, Mapping[str, float]] = OrderedDict()
        self._lock = Lock()
        self.learner = Learner(engine, prompts, self._scored)

    def clear_cache(self) -> None:
        """Drop the priors that were computed and the heads that were fitted."""
        with self._lock:
            self._priors.clear()
            self.learner = Learner(self._engine, self._prompts, self._scored)

    def decide(
        self,
        text: str,
        questions: Mapping[str, Question],
        config: ScoringConfig,
        *,
        history: Sequence[MessageLike] = (),
    ) -> dict[str, Decision]:
        """Decide all questions about a text from one reading of it."""
        asked = self._asked(text, questions, config, history=history)
        (pending,) = self._submit([asked])
        return self._decisions(pending, config)

    def decide_all(
        self,
        texts: Iterable[tuple[str, Mapping[str, Question]]],
        config: ScoringConfig,
        *,
        return_exceptions: bool = False,
    ) -> Iterator[dict[str, Decision] | QwenAllInOneError]:
        """Yield the decisions about each text, in the order of the texts."""
        rest = iter(texts)
        while batch := list(islice(rest, BATCH_SIZE)):
            for decided in self._decide_batch(batch, config):
                if isinstance(decided, QwenAllInOneError) and not return_exceptions:
                    raise decided
                yield decided

    def request(
        self,
        text: str,
        questions: Mapping[str, Question],
        config: ScoringConfig,
        *,
        history: Sequence[MessageLike] = (),
        cache_prefix: bool = True,
    ) -> ScoreRequest:
        """Lay the questions out, each under its name and the number of the rotation of its options.

        Raises:
            EmptyTextError: the text is blank.
            QuestionError: there are no questions, or one makes no sense.
        """
        if not questions:
            raise QuestionError("no questions were given; name at least one")
        language, calibration = language_of(text), config.calibration or self._calibration
        rendered: dict[Hashable, RenderedQuestion] = {}
        for name, question in questions.items():
            for rotation, each in enumerate(self._rotations(question, language, calibration)):
                rendered[name, rotation] = each
        return ScoreRequest(
            self._prompts.conversation(text, history, language),
            rendered,
            language,
            layout=config.layout,
            length_normalized=calibration.length_normalized,
            cache_prefix=cache_prefix,
        )

    def _asked(
        self,
        text: str,
        questions: Mapping[str, Question],
        config: ScoringConfig,
        *,
        history: Sequence[MessageLike] = (),
        cache_prefix: bool = True,
    ) -> _Asked:
        """Sort the questions into those of which a head is fitted, those that are scored, and those that are both."""
        learned: dict[str, LearnedQuestion] = {}
        if config.learned:
            self.learner.fit(questions.values())  # all of them from one reading of their examples
        for name, question in questions.items():
            head = self.learner.learned(question) if config.learned else None
            if head is not None:
                learned[name] = head
        scored = {
            name: question
            for name, question in questions.items()
            if name not in learned or learned[name].fit.report.method == "both"
        }
        read = score = None
        if learned:
            conversation = self._prompts.conversation(text, history, language_of(text))
            read = ReadRequest(conversation, self.learner.layers, cache_prefix=cache_prefix)
        if scored or not learned:
            score = self.request(text, scored, config, history=history, cache_prefix=cache_prefix)
        return _Asked(questions, learned, read, score)

    def _submit(self, asked: Sequence[_Asked]) -> list[_Pending]:
        """Hand everything to the engine at once: it sorts, fills its passes, and works on while the first are taken."""
        readings = iter(self._engine.read([each.read for each in asked if each.read is not None]))
        scores = iter(self._engine.score([each.score for each in asked if each.score is not None]))
        pending = []
        for each in asked:
            reading = None if each.read is None else next(readings)
            pending.append(_Pending(each, reading, None if each.score is None else next(scores)))
        return pending

    def _decide_batch(
        self, batch: Sequence[tuple[str, Mapping[str, Question]]], config: ScoringConfig
    ) -> Iterator[dict[str, Decision] | QwenAllInOneError]:
        asked: list[_Asked | QwenAllInOneError] = []
        for text, questions in batch:
            try:
                asked.append(self._asked(text, questions, config, cache_prefix=False))
            except QwenAllInOneError as error:
                asked.append(error)
        pending = self._submit([each for each in asked if isinstance(each, _Asked)])
        rest = iter(pending)
        try:
            for each in asked:
                if isinstance(each, QwenAllInOneError):
                    yield each
                    continue
                try:
                    decided = self._decisions(next(rest), config)
                except QwenAllInOneError as error:
                    yield error
                else:
                    yield decided
        finally:  # whoever leaves early wants no more
            for unfinished in pending:
                unfinished.cancel()

    def _decisions(self, pending: _Pending, config: ScoringConfig) -> dict[str, Decision]:
        asked, calibration = pending.asked, config.calibration or self._calibration
        reading = pending.reading.result() if pending.reading else {}
        rotations = self._rotated_scores(pending, calibration)
        decisions = {}
        for name, question in asked.questions.items():
            head = asked.learned.get(name)
            probabilities: Mapping[str, float]
            typicality = None
            if head is None:
                probabilities = calibration.probabilities(question, rotations[name])
            else:
                probabilities = head.probabilities(reading)
                typicality = head.typicality(reading, probabilities)
                if name in rotations:
                    probabilities = head.with_scores(
                        probabilities, calibration.probabilities(question, rotations[name])
                    )
                probabilities = {option: probabilities.get(option, 0.0) for option in descriptions_of(question)}
            method = head.fit.report.method if head else "scored"
            decisions[name] = Decision.from_probabilities(
                probabilities, config.threshold, method=method, typicality=typicality
            )
        return decisions

    def _rotated_scores(self, pending: _Pending, calibration: Calibration) -> dict[str, list[Mapping[str, float]]]:
        """Return the scores of every question that was scored, for each rotation of its options."""
        request = pending.asked.score
        if request is None or pending.scores is None:
            return {}
        scores = pending.scores.result()
        # Beside a head the prior is always taken out, as it was when their shares were fitted.
        both = {key for key in scores if cast(tuple[str, int], key)[0] in pending.asked.learned}
        divided = set(scores) if calibration.prior else both
        if divided:
            # A prior in logarithms is subtracted; it is computed in the same layout, language and normalisation.
            priors = self._prior_scores(request, divided)
            scores = {key: _without(logs, priors.get(key)) for key, logs in scores.items()}
        rotations: dict[str, list[Mapping[str, float]]] = {}
        for key, logs in scores.items():
            name, _ = cast(tuple[str, int], key)
            rotations.setdefault(name, []).append(logs)
        return rotations

    def _scored(self, question: Question, texts: Sequence[str]) -> list[Mapping[str, float]]:
        """Score a question about some texts, for the fit of its head."""
        calibration = replace(self._calibration, prior=True)
        config = ScoringConfig(calibration=calibration)
        asked = []
        for text in texts:
            score = self.request(text, {"": question}, config, cache_prefix=False)
            asked.append(_Asked({"": question}, {}, None, score))
        found: list[Mapping[str, float]] = []
        for pending in self._submit(asked):
            rotations = self._rotated_scores(pending, calibration)
            found.append(calibration.probabilities(question, rotations[""]))
        return found

    def _prior_scores(self, request: ScoreRequest, wanted: Collection[Hashable]) -> Scores:
        """Score questions of a request against a content-free text, each of them once."""
        questions = {key: question for key, question in request.questions.items() if key in wanted}
        keys = {key: _prior_key(question, request) for key, question in questions.items()}
        with self._lock:
            known = {each: self._priors[each] for each in keys.values() if each in self._priors}
        # The same question under two names, or in two rotations that read alike, is asked once.
        new = {keys[key]: question for key, question in questions.items() if keys[key] not in known}
        if new:
            messages = self._prompts.conversation(CONTENT_FREE, (), request.language)
            prior = ScoreRequest(
                messages,
                new,
                request.language,
                layout=request.layout,
                length_normalized=request.length_normalized,
            )
            (pending,) = self._engine.score([prior])
            found = pending.result()
            known |= found
            with self._lock:
                _keep(self._priors, found)
        return {key: known[prior_key] for key, prior_key in keys.items()}

    def _rotations(self, question: Question, language: Language, calibration: Calibration) -> list[RenderedQuestion]:
        """Render a question in every order in which it is asked; the same one is rendered once."""
        # By content, not by identity: callers make their questions anew for every text.
        key = (_content(question), language, calibration.permutations, calibration.order)
        with self._lock:
            if key in self._rendered:
                return self._rendered[key]
        rotations = [render_question(question, language, order=order) for order in calibration.orders(question)]
        with self._lock:
            _keep(self._rendered, {key: rotations})
        return rotations


def _without(logs: Mapping[str, float], prior: Mapping[str, float] | None) -> Mapping[str, float]:
    """Divide by a prior, in logarithms."""
    return logs if prior is None else {option: log - prior[option] for option, log in logs.items()}


def _content(question: Question) -> Hashable:
    """Everything that makes a question what it is; whoever made it, it is the same if it reads the same."""
    return question.type, repr(question.instructions), repr(question.criteria)


def _prior_key(question: RenderedQuestion, request: ScoreRequest) -> Hashable:
    options = tuple(question.options.items())
    return question.text, options, request.language, request.layout, request.length_normalized


def _keep(kept: "OrderedDict[Hashable, Any]", new: Mapping[Hashable, Any]) -> None:
    """Add to what is kept, dropping the oldest beyond the limit."""
    kept.update(new)
    while len(kept) > MAX_KEPT:
        kept.popitem(last=False)
