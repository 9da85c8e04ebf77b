"""Options scored together, in one packed pass, against each of them scored alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from qwen_allinone.errors import RunError
from qwen_allinone.eval.case import Case
from qwen_allinone.eval.diagnostics.task import Task
from qwen_allinone.model import Noul, Question, Score
from qwen_allinone.model.prompt.language import Language, language_of

if TYPE_CHECKING:
    from qwen_allinone.model import SharedQwen

TEXTS_PER_TASK = 3
_REQUESTS: Mapping[Language, Noul] = {
    "zh": Noul(instructions="要求做一件事吗？"),
    "en": Noul(instructions="Is something requested?"),
}
_POLITENESS: Mapping[Language, Score] = {
    "zh": Score(instructions="这段文字有多客气？", criteria=["很不客气", "一般", "很客气"]),
    "en": Score(instructions="How polite is the text?", criteria=["rude", "neutral", "very polite"]),
}


@dataclass(frozen=True)
class ScoredTwice:
    """Log-likelihoods of one question's options, in natural logarithms."""

    packed: Mapping[str, float]
    """Option to log-likelihood, all options in one pass."""
    alone: Mapping[str, float]
    """Option to log-likelihood, each option in a pass of its own."""

    @property
    def largest_difference(self) -> float:
        """Largest difference of an option's two log-likelihoods."""
        return max(abs(self.packed[option] - self.alone[option]) for option in self.packed)

    @property
    def agrees(self) -> bool:
        """True if both ways decide the same."""
        return max(self.packed, key=self.packed.__getitem__) == max(self.alone, key=self.alone.__getitem__)


@dataclass(frozen=True)
class PackedScoring:
    """Every question that was scored both ways."""

    packed: bool
    """False for architectures whose options go on from clones of one reading instead."""
    texts: int
    questions: tuple[ScoredTwice, ...]

    @property
    def largest_difference(self) -> float:
        """Largest difference of two log-likelihoods of one option, in natural logarithms."""
        return max(question.largest_difference for question in self.questions)

    @property
    def agreeing(self) -> int:
        """Number of questions that are decided the same both ways."""
        return sum(question.agrees for question in self.questions)

    @property
    def agree(self) -> bool:
        """True if no decision depends on the way."""
        return self.agreeing == len(self.questions)

    def to_json(self) -> dict[str, Any]:
        """Return the figures."""
        return {
            "packed": self.packed,
            "texts": self.texts,
            "options": sum(len(question.packed) for question in self.questions),
            "largest_difference": self.largest_difference,
            "decisions": len(self.questions),
            "agreeing": self.agreeing,
            "agree": self.agree,
        }


def check_packed_scoring(qwen: "SharedQwen", tasks: Sequence[Task]) -> PackedScoring:
    """Score questions of all three kinds about a few texts of each task both ways.

    Raises:
        RunError: a log-likelihood is not finite.
    """
    cases: list[Case] = []
    for task in tasks:
        cases += task.spaced(TEXTS_PER_TASK).cases
    questions: list[ScoredTwice] = []
    for case in cases:
        questions += _score_twice(qwen, case)
    return PackedScoring(qwen.local.packs_branches, len(cases), tuple(questions))


def _score_twice(qwen: "SharedQwen", case: Case) -> list[ScoredTwice]:
    text = case.row.text
    language = language_of(text)
    questions: dict[str, Question] = {
        "task": case.question,
        "request": _REQUESTS[language],
        "politeness": _POLITENESS[language],
    }
    packed = qwen.loglikelihoods(text, questions)
    alone = qwen.loglikelihoods(text, questions, packed=False)
    for name in questions:
        if not all(map(isfinite, (*packed[name].values(), *alone[name].values()))):
            raise RunError(f"a log-likelihood is not finite for {text!r}; load the model in fp32")
    return [ScoredTwice(packed[name], alone[name]) for name in questions]
