"""From labelled examples to a head on the shared reading: fitted once per model, at first use, and kept."""

import hashlib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import chain
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen_allinone.errors import QuestionError, TextTooLongError
from qwen_allinone.model.decisions.decision import Decision, Method
from qwen_allinone.model.decisions.examples import Examples, shortened
from qwen_allinone.model.decisions.head import Described, FittedHead, Head, fit_head, softmax
from qwen_allinone.model.decisions.head_store import Features16, HeadStore
from qwen_allinone.model.decisions.questions import Question, examples_of
from qwen_allinone.model.engine.base import Engine, Reading, ReadRequest
from qwen_allinone.model.prompt.language import language_of
from qwen_allinone.model.prompt.layout import PromptLayout, persona

Score = Callable[[Question, Sequence[str]], Sequence[Mapping[str, float]]]
"""Returns the scored probabilities of a question's options for some texts."""

FEW = 4
"""Examples of an option below which the scores are tried beside the head."""
MAX_SCORED = 24
"""Examples that are scored for that."""
SHARES = (0.25, 0.5, 1.0)
"""Weights tried for the scored log-probabilities beside those of the head."""
MIN_GAIN = 0.02
"""Nats of log loss that the scores must save, for they cost a pass over the question."""
_TINY = 1e-9
_MIN_SHOWN = 100
"""Examples to be read from which the progress is shown."""
_FORMAT = 3
"""Raised when features or heads change: what was kept before counts no more."""


@dataclass(frozen=True)
class FitReport:
    """The way a question is decided, and how good that is on examples that took no part in the fit."""

    method: Method
    layers: tuple[int, int]
    """Numbers of layers after which the mean over the text and the end of the turn are taken."""
    examples: int
    accuracy: float
    """Out of fold, of the head, every option counting alike."""
    log_loss: float
    """Out of fold, of the head, in nats."""
    share: float = 0.0
    """Weight of the scored log-probabilities beside those of the head."""


@dataclass(frozen=True, eq=False)
class Fit:
    """All that was fitted for one set of examples."""

    head: Head
    described: Described | None
    """Of the options without examples; None: all have some."""
    report: FitReport


@dataclass(frozen=True, eq=False)
class LearnedQuestion:
    """A fitted head, and the options that its classes stand for."""

    fit: Fit
    options: tuple[str, ...]
    """Those with examples, then those that are only described."""

    def probabilities(self, reading: Reading) -> dict[str, float]:
        """Return the probability of every option."""
        (row,) = self.fit.head.probabilities(_joined(reading, self.fit.report.layers)[None])
        if self.fit.described is not None:
            # What a text is about is plainest early on, in the mean over its tokens.
            (others,) = self.fit.described.probabilities(reading[min(reading)].mean[None])
            row = np.concatenate([row * (1 - others.sum()), others])
        return dict(zip(self.options, row.tolist(), strict=True))

    def typicality(self, reading: Reading, probabilities: Mapping[str, float]) -> float:
        """Return the share of the examples that are less like any option than the text, in [0, 1]."""
        (share,) = self.fit.head.typicality(_joined(reading, self.fit.report.layers)[None])
        learned = sum(probabilities[option] for option in self.options[: len(self.fit.head.bias)])
        return float(max(share, 1 - learned))  # what an option without examples takes is unlike the examples

    def with_scores(self, own: Mapping[str, float], scored: Mapping[str, float]) -> dict[str, float]:
        """Multiply the head's probabilities by a power of the scored ones."""
        weights = {option: own[option] * max(scored[option], _TINY) ** self.fit.report.share for option in own}
        total = sum(weights.values())
        return {option: weight / total for option, weight in weights.items()}


class Learner:
    """Fits a head for every question that has examples; safe to use from many threads.

    Args:
        engine: reads the examples.
        prompts: lays them out as any text is laid out.
        score: is asked for the scores where examples are few.
    """

    def __init__(self, engine: Engine, prompts: PromptLayout, score: Score) -> None:
        self._engine = engine
        self._prompts = prompts
        self._score = score
        self.candidates = candidate_layers(engine.layers)
        """Pairs of layers for the fit to choose from."""
        self.layers = tuple(sorted(set(chain.from_iterable(self.candidates))))
        """Numbers of layers after which hidden states are taken; none if the engine has no hidden states."""
        self._fitted: dict[str, Fit] = {}
        self._features: dict[str, Features16] | None = None
        self._unfit: set[str] = set()
        self._lock = RLock()

    @cached_property
    def digest(self) -> str:
        """Digest of all that the features of a text depend on besides the text."""
        return _digest(self._engine, self.candidates)

    @cached_property
    def _store(self) -> HeadStore:
        return HeadStore(self.digest, self._engine.heads)

    def learned(self, question: Question) -> LearnedQuestion | None:
        """Return the head of a question, fitted now if need be; None if the question is to be scored.

        Raises:
            QuestionError: an example does not fit into the context window.
        """
        found = self.fitted(question)
        return None if found is None or found.fit.report.method == "scored" else found

    def fitted(self, question: Question) -> LearnedQuestion | None:
        """Return the head of a question even if its scores are better; None if it has no examples, or too few."""
        examples = examples_of(question)
        if examples is None or not self.layers:
            return None
        if examples.digest not in self._fitted and not self._fit([question]):
            return None
        return LearnedQuestion(self._fitted[examples.digest], examples.options)

    def out_of_fold(self, question: Question) -> list[tuple[str, str, Decision]]:
        """Return each example with its option and with the decision of a head that was fitted without it.

        Examples that are alone in their option are left out: nothing is known of it without them.

        Raises:
            QuestionError: the question has no examples, or too few, or the engine has no hidden states to learn from.
        """
        examples, learned = examples_of(question), self.fitted(question)
        if examples is None or learned is None:
            raise QuestionError("there is nothing to learn from; give two options at least two examples each")
        rows = _Rows.of_examples(examples)
        with self._lock:
            features = self._features_of([examples])
        _, fitted = self._best_head(rows, _stacked(rows.texts, features))
        method = learned.fit.report.method
        scored = self._score(question, rows.texts) if method != "learned" else ()
        found = []
        for place, text in enumerate(rows.texts):
            if not rows.judged[place]:
                continue
            probabilities: Mapping[str, float] = dict(
                zip(rows.options, fitted.probabilities[place].tolist(), strict=True)
            )
            if method == "both":
                probabilities = learned.with_scores(probabilities, scored[place])
            elif method == "scored":
                probabilities = scored[place]
            decision = Decision(probabilities, method=method, typicality=float(fitted.typicality[place]))
            found.append((text, rows.options[rows.classes[place]], decision))
        return found

    def fit(self, questions: Iterable[Question], *, method: Method | None = None) -> list[FitReport | None]:
        """Fit the heads of all questions that have none yet, from one reading of their examples.

        Args:
            questions: those without examples are left as they are.
            method: of the decisions; by default what is best out of fold.

        Returns:
            A report for each question; None for one that is scored because it has no examples, or too few.
        """
        listed = list(questions)
        if self.layers:
            self._fit(listed, method)
        reports: list[FitReport | None] = []
        for question in listed:
            examples = examples_of(question)
            found = self._fitted.get(examples.digest) if examples else None
            reports.append(found.report if found else None)
        return reports

    def _fit(self, questions: Sequence[Question], method: Method | None = None) -> bool:
        """Fit or load all heads that are missing; return True if the last question has one now."""
        with self._lock:  # whoever waits here needs the same heads
            missing: dict[str, tuple[Question, Examples]] = {}
            for question in questions:
                examples = examples_of(question)
                if examples is None or examples.digest in self._fitted or not self._teaches(question, examples):
                    continue
                kept = self._kept(examples)
                if kept is not None:
                    self._fitted[examples.digest] = kept
                else:
                    missing[examples.digest] = question, examples
            if missing:
                features = self._features_of([examples for _, examples in missing.values()])
                for digest, (question, examples) in missing.items():
                    fit = self._fitted_to(question, examples, features)
                    if method is not None:
                        fit = replace(fit, report=replace(fit.report, method=method))
                    self._fitted[digest] = fit
                    self._keep(digest, fit)
            last = examples_of(questions[-1]) if questions else None
            return last is not None and last.digest in self._fitted

    def _teaches(self, question: Question, examples: Examples) -> bool:
        """Return True if the examples are enough to learn from; otherwise say so, once."""
        if len(examples.judged) >= 2:
            return True
        if len(examples.options) >= 2 and examples.digest not in self._unfit:
            self._unfit.add(examples.digest)
            warnings.warn(
                f"the question {shortened(str(question.instructions))!r} is scored and not learned: "
                "fewer than two of its options have two examples or more",
                stacklevel=2,
            )
        return False

    def _fitted_to(self, question: Question, examples: Examples, features: Mapping[str, Features16]) -> Fit:
        """Choose the layer out of fold, and whether the scores add to it."""
        rows = _Rows.of_examples(examples)
        stacked = _stacked(rows.texts, features)
        layers, fitted = self._best_head(rows, stacked)
        method: Method = "learned"
        share = 0.0
        if examples.fewest < FEW:
            method, share = self._chosen_method(question, rows, fitted)
        described = None
        if examples.described:
            words = [examples.described[option] for option in examples.options[len(examples.texts) :]]
            means = slice(stacked.shape[2] // 2)  # see ``_joined``
            described = Described.from_features(_stacked(words, features)[:, 0, means], stacked[:, 0, means])
        report = FitReport(method, layers, len(rows.texts), fitted.accuracy, fitted.log_loss, share)
        return Fit(fitted.head, described, report)

    def _best_head(self, rows: "_Rows", stacked: NDArray[np.float32]) -> tuple[tuple[int, int], FittedHead]:
        """Fit a head after each pair of layers; return that of the least log loss out of fold."""
        fits = {}
        for index, layers in enumerate(self.candidates):
            fits[layers] = fit_head(stacked[:, index], rows.classes, rows.judged, rows.times)
        best = min(fits, key=lambda each: fits[each].log_loss)
        return best, fits[best]

    def _chosen_method(self, question: Question, rows: "_Rows", fitted: FittedHead) -> tuple[Method, float]:
        """Weigh the scores against the head on some examples; return what loses least, and the share of the scores."""
        places = np.flatnonzero(rows.judged)
        chosen = places[np.linspace(0, len(places) - 1, min(MAX_SCORED, len(places))).astype(int)]
        scored = self._score(question, [rows.texts[place] for place in chosen])
        scores = np.log([[max(each[option], _TINY) for option in rows.options] for each in scored])
        own = np.log(np.maximum(fitted.probabilities[chosen], _TINY))
        labels = rows.classes[chosen]
        losses: dict[tuple[Method, float], float] = {
            ("learned", 0.0): _log_loss(own, labels),
            ("scored", 0.0): _log_loss(scores, labels),
        }
        for share in SHARES:
            losses["both", share] = _log_loss(own + share * scores, labels)
        best = min(losses, key=losses.__getitem__)
        return best if losses[best] <= losses["learned", 0.0] - MIN_GAIN else ("learned", 0.0)

    def _features_of(self, all_examples: Sequence[Examples]) -> Mapping[str, Features16]:
        """Return the features of every example by the digest of its text, read as far as they are not known."""
        if self._features is None:
            self._features = self._store.features()
        new: dict[str, str] = {}
        for examples in all_examples:
            for texts in (*examples.texts.values(), examples.described.values()):
                for text in texts:
                    digest = _text_digest(text)
                    if digest not in self._features:
                        new[digest] = text
        if new:
            self._features |= zip(new, self._read(list(new.values())), strict=True)
            self._store.keep_features(self._features)
        return self._features

    def _read(self, texts: Sequence[str]) -> list[Features16]:
        from rich.console import Console
        from rich.progress import track

        requests = []
        for text in texts:
            conversation = self._prompts.conversation(text, (), language_of(text))
            requests.append(ReadRequest(conversation, self.layers, cache_prefix=False))
        pending = self._engine.read(requests)
        console = Console(stderr=True)
        hidden = not console.is_terminal or len(texts) < _MIN_SHOWN  # a bar is for a person, and for what takes a while
        shown = track(pending, "reading examples", console=console, transient=True, disable=hidden)
        found = []
        try:
            for text, each in zip(texts, shown, strict=True):
                try:
                    reading = each.result()
                except TextTooLongError as error:
                    raise QuestionError(f"the example {shortened(text)!r} cannot be read: {error}") from error
                rows = [_joined(reading, layers) for layers in self.candidates]
                found.append(np.clip(np.stack(rows), -65504, 65504).astype(np.float16))
        finally:  # whoever interrupts this wants no more
            for each in pending:
                each.cancel()
        return found

    def _kept(self, examples: Examples) -> Fit | None:
        found = self._store.head(examples.digest)
        if found is None:
            return None
        arrays, fields = found
        try:
            head = Head(sharpness=float(fields["sharpness"]), **_part(arrays, "head"))
            others = _part(arrays, "described")
            described = Described(bound=float(fields["bound"]), **others) if others else None
            report = fields["report"]
            return Fit(head, described, FitReport(**report | {"layers": tuple(report["layers"])}))
        except (KeyError, TypeError, ValueError):  # of an earlier version
            return None

    def _keep(self, digest: str, fit: Fit) -> None:
        arrays, fields = {}, {"report": asdict(fit.report)}
        for name, part in (("head", fit.head), ("described", fit.described)):
            for field, value in vars(part).items() if part else ():
                if isinstance(value, np.ndarray):
                    arrays[f"{name}.{field}"] = value
                else:
                    fields[field] = value
        self._store.keep_head(digest, arrays, fields)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Examples as rows of a table."""

    texts: Sequence[str]
    options: Sequence[str]
    classes: NDArray[np.int_]
    """Of each text, the number of its option."""
    judged: NDArray[np.bool_]
    """Of each text, whether its prediction out of fold counts."""
    times: NDArray[np.float64]
    """Of each text, how often it was given."""

    @classmethod
    def of_examples(cls, examples: Examples) -> "_Rows":
        texts: list[str] = []
        classes: list[int] = []
        for number, own in enumerate(examples.texts.values()):
            texts += own
            classes += [number] * len(own)
        judged = np.array([option in examples.judged for option in examples.texts])
        times = np.array([examples.times[text] for text in texts], float)
        return cls(texts, tuple(examples.texts), np.array(classes), judged[classes], times)


def candidate_layers(count: int) -> tuple[tuple[int, int], ...]:
    """Return the pairs of layers to choose from, in a model of so many: for the mean, and for the end of the turn.

    What a text is about is plainest in an early mean, how it is meant at a later end: of 24 layers, 8 or 10, and 14.
    """
    if not count:
        return ()
    end = max(1, count * 7 // 12)
    return tuple(sorted({(max(1, count // 3), end), (max(1, count * 5 // 12), end)}))


def _part(arrays: Mapping[str, NDArray[Any]], name: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of one part, by the names of its fields."""
    return {key.removeprefix(f"{name}."): array for key, array in arrays.items() if key.startswith(f"{name}.")}


def _stacked(texts: Iterable[str], features: Mapping[str, Features16]) -> NDArray[np.float32]:
    """Return the features of texts. *Shape:* (texts, layers, width)."""
    return np.stack([features[_text_digest(text)] for text in texts]).astype(np.float32)


def _log_loss(logs: NDArray[np.float64], labels: NDArray[np.int_]) -> float:
    own = softmax(logs)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(own, _TINY)).mean())


def _joined(reading: Reading, layers: tuple[int, int]) -> NDArray[np.float32]:
    """Return the mean over the text after the first number of layers, and the end of the turn after the second."""
    return np.concatenate([reading[layers[0]].mean, reading[layers[1]].end])


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _digest(engine: Engine, layers: Sequence[tuple[int, int]]) -> str:
    content: list[Any] = [_FORMAT, engine.digest, layers, persona("zh").content, persona("en").content]
    return hashlib.sha256(repr(content).encode()).hexdigest()[:24]
