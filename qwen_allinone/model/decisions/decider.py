"""From questions to decisions: about one text or about thousands."""

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from threading import Lock
from typing import Any, TypedDict, cast

from qwen_allinone.errors import QuestionError, QwenAllInOneError
from qwen_allinone.model.decisions.decision import Calibration, Decision, Threshold
from qwen_allinone.model.decisions.questions import Question, render_question
from qwen_allinone.model.engine.base import Engine, RenderedQuestion, ScoreRequest, Scores
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


@dataclass(frozen=True)
class ScoringConfig:
    """Settings of decisions."""

    layout: Layout | None = None
    """Place of the questions; None: as the model declares."""
    calibration: Calibration | None = None
    """Corrections; None: as the model declares."""
    threshold: Threshold | None = None
    """Bounds below which a decision abstains; None: it never does."""


class Decider:
    """Decides by the log-likelihoods of options; safe to use from many threads.

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

    def clear_cache(self) -> None:
        """Drop the priors that were computed."""
        with self._lock:
            self._priors.clear()

    def decide(
        self,
        text: str,
        questions: Mapping[str, Question],
        config: ScoringConfig,
        *,
        history: Sequence[MessageLike] = (),
    ) -> dict[str, Decision]:
        """Decide all questions about a text from one reading of it."""
        request = self.request(text, questions, config, history=history)
        (pending,) = self._engine.score([request])
        return self._decisions(questions, request, pending.result(), config)

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

    def _decide_batch(
        self, batch: Sequence[tuple[str, Mapping[str, Question]]], config: ScoringConfig
    ) -> Iterator[dict[str, Decision] | QwenAllInOneError]:
        requests: list[ScoreRequest | QwenAllInOneError] = []
        for text, questions in batch:
            try:
                requests.append(self.request(text, questions, config, cache_prefix=False))
            except QwenAllInOneError as error:
                requests.append(error)
        # All at once: the engine sorts them, fills its passes, and works on while the first are taken.
        pending = list(self._engine.score([each for each in requests if isinstance(each, ScoreRequest)]))
        rest = iter(pending)
        try:
            for (_, questions), request in zip(batch, requests, strict=True):
                if isinstance(request, QwenAllInOneError):
                    yield request
                    continue
                try:
                    decided = self._decisions(questions, request, next(rest).result(), config)
                except QwenAllInOneError as error:
                    yield error
                else:
                    yield decided
        finally:  # whoever leaves early wants no more
            for each in pending:
                each.cancel()

    def _decisions(
        self, questions: Mapping[str, Question], request: ScoreRequest, scores: Scores, config: ScoringConfig
    ) -> dict[str, Decision]:
        calibration = config.calibration or self._calibration
        if calibration.prior:
            # A prior in logarithms is subtracted; it is computed in the same layout, language and normalisation.
            scores = _without(scores, self._prior_scores(request))
        rotations: dict[str, list[Mapping[str, float]]] = {name: [] for name in questions}
        for key, logs in scores.items():
            name, _ = cast(tuple[str, int], key)
            rotations[name].append(logs)
        decisions = {}
        for name, question in questions.items():
            probabilities = calibration.probabilities(question, rotations[name])
            decisions[name] = Decision.from_probabilities(probabilities, config.threshold)
        return decisions

    def _prior_scores(self, request: ScoreRequest) -> Scores:
        """Score the questions against a content-free text, each of them once."""
        keys = {key: _prior_key(question, request) for key, question in request.questions.items()}
        with self._lock:
            known = {each: self._priors[each] for each in keys.values() if each in self._priors}
        # The same question under two names, or in two rotations that read alike, is asked once.
        new = {keys[key]: question for key, question in request.questions.items() if keys[key] not in known}
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


def _without(scores: Scores, priors: Scores) -> Scores:
    """Divide by the priors, in logarithms."""
    found: dict[Hashable, dict[str, float]] = {}
    for key, logs in scores.items():
        prior = priors[key]
        found[key] = {option: log - prior[option] for option, log in logs.items()}
    return found


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
