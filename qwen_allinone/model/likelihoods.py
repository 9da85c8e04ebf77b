"""Where the likelihoods of options come from: what a decision needs of an engine, and the engine in memory."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from qwen_allinone.errors import QwenAllInOneError
from qwen_allinone.model.branches import Inquiry
from qwen_allinone.model.capabilities import Layout
from qwen_allinone.model.chatml import Message
from qwen_allinone.model.fair_lock import FairLock
from qwen_allinone.model.language import Language
from qwen_allinone.model.merged_scorer import MergedScorer
from qwen_allinone.model.prompt_layout import PromptLayout
from qwen_allinone.model.questions import RenderedQuestion
from qwen_allinone.model.scorer import LeafScores, Scorer


@dataclass(frozen=True)
class Asked:
    """A text, and all that is asked about it."""

    messages: Sequence[Message]
    """Persona, earlier turns and the text."""
    questions: Sequence[RenderedQuestion]
    layout: Layout | None
    """Where a question stands; None: as the model declares."""
    language: Language
    """Of the frame around the questions."""


class Likelihoods(Protocol):
    """What a decision needs of an engine; safe to use from many threads."""

    def of(self, asked: Asked, *, packed: bool = True) -> LeafScores:
        """Per question, per option as it is listed: its log-likelihood, but for a summand that all of them share."""

    def of_all(self, asked: Sequence[Asked], *, batch_tokens: int) -> Iterator[LeafScores | QwenAllInOneError]:
        """The same for many texts in their order, or the error that came instead."""

    def tokens(self, question: RenderedQuestion) -> list[int]:
        """How many tokens each option has."""


class ModelLikelihoods:
    """Those of the model in memory.

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

    def of(self, asked: Asked, *, packed: bool = True) -> LeafScores:
        """All options behind one reading of the text, in one pass; or each in a pass of its own."""
        inquiries = self._inquiries(asked)
        if packed:
            return joined(self._merged.score(inquiries))
        with self._lock:
            return joined([self._scorer.score_one_by_one(each.prefix, each.branches) for each in inquiries])

    def of_all(self, asked: Sequence[Asked], *, batch_tokens: int) -> Iterator[LeafScores | QwenAllInOneError]:
        """Texts that begin alike and are of like length share a pass."""
        inquiries = [self._inquiries_or_error(each) for each in asked]
        places = [
            (each.messages[0].content, inquiry.size, number, place)
            for number, each in enumerate(asked)
            for place, inquiry in enumerate(_sound(inquiries[number]))
        ]
        found: dict[tuple[int, int], LeafScores | QwenAllInOneError] = {}
        for batch in _batches(sorted(places), batch_tokens):
            scores = self._scores_or_errors([_sound(inquiries[number])[place] for _, _, number, place in batch])
            found |= {(number, place): log for (_, _, number, place), log in zip(batch, scores, strict=True)}
        for number, each in enumerate(inquiries):
            if isinstance(each, QwenAllInOneError):
                yield each
            else:
                yield joined_or_error([found[number, place] for place in range(len(each))])

    def tokens(self, question: RenderedQuestion) -> list[int]:
        """The end of the turn included."""
        return list(map(len, self._prompts.leaves(question)))

    def _inquiries(self, asked: Asked) -> list[Inquiry]:
        return self._prompts.inquiries(asked.messages, asked.questions, asked.layout)

    def _inquiries_or_error(self, asked: Asked) -> list[Inquiry] | QwenAllInOneError:
        try:
            return self._inquiries(asked)
        except QwenAllInOneError as error:
            return error

    def _scores_or_errors(self, inquiries: Sequence[Inquiry]) -> Sequence[LeafScores | QwenAllInOneError]:
        """Scores of each, in one pass, or one after the other where that fails."""
        try:
            with self._lock:
                return self._scorer.score_all(inquiries)
        except QwenAllInOneError as error:
            if len(inquiries) == 1:
                return [error]
        return [each for inquiry in inquiries for each in self._scores_or_errors([inquiry])]


def joined(parts: Iterable[LeafScores]) -> LeafScores:
    """The scores of all that was asked about one text."""
    return tuple(log for each in parts for log in each)


def joined_or_error(parts: Sequence[LeafScores | QwenAllInOneError]) -> LeafScores | QwenAllInOneError:
    """The same, or the first error."""
    sound: list[LeafScores] = []
    for each in parts:
        if isinstance(each, QwenAllInOneError):
            return each
        sound.append(each)
    return joined(sound)


def _sound(inquiries: list[Inquiry] | QwenAllInOneError) -> list[Inquiry]:
    return [] if isinstance(inquiries, QwenAllInOneError) else inquiries


_Place = tuple[str, int, int, int]


def _batches(places: Sequence[_Place], tokens: int) -> Iterator[list[_Place]]:
    """Runs of one beginning that fill a batch each, and at least one; the first two entries are beginning and size."""
    batch: list[_Place] = []
    for place in places:
        beginning, size, *_ = place
        if batch and (batch[0][0] != beginning or (len(batch) + 1) * size > tokens):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch
