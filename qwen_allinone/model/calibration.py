"""Corrections of what a small model prefers whatever it reads: some options, and some places in a list."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, isfinite
from typing import Literal, get_args

from qwen_allinone.errors import QuestionError, RunError
from qwen_allinone.model.questions import Question, RenderedQuestion
from qwen_allinone.model.scorer import LeafScores

Order = Literal["sorted", "given"]


@dataclass(frozen=True)
class Calibration:
    """Training-free corrections of a small model's bias towards labels and positions."""

    prior: bool = False
    """Divide by each option's probability for a content-free text (Zhao et al., 2021, arXiv:2102.09690)."""
    per_token: bool = False
    """Take the mean log-likelihood of an option's tokens, not their sum, which favours short options."""
    permutations: int = 1
    """Average over this many rotations of the option list, in the same pass."""
    order: Order = "sorted"
    """How the options of a choice are listed to the model: sorted, so that no decision depends on the order in which
    the caller gave them, or as given."""
    temperature: float = 1.0
    """Divides the log-likelihoods; above 1 the probabilities are flatter."""

    def __post_init__(self) -> None:
        if self.permutations < 1 or not self.temperature > 0:
            raise QuestionError("permutations must be at least 1 and the temperature positive")
        if self.order not in get_args(Order):
            raise QuestionError(f"options cannot be listed in the order {self.order!r}; allowed: sorted, given")

    def orders(self, question: Question) -> list[Sequence[int] | None]:
        """In which orders the options are listed to the model, at least one; only those of a choice are ever moved."""
        if question.type != "choice":
            return [None]
        labels = list(question.criteria)
        first = list(range(len(labels)))
        if self.order == "sorted":
            first.sort(key=labels.__getitem__)
        starts = range(max(1, min(self.permutations, len(labels))))
        return [first[start:] + first[:start] for start in starts]

    def probabilities(
        self, question: Question, rendered: Sequence[RenderedQuestion], logs: Sequence[Sequence[float]]
    ) -> dict[str, float]:
        """Mean over the orders in which a question was rendered, options in the question's own order.

        Args:
            question: what was asked.
            rendered: the question in each of the orders.
            logs: per order, the log-likelihood of every option as it was listed.

        Raises:
            RunError: a likelihood is no number.
        """
        each = [self._softmax(listed, log) for listed, log in zip(rendered, logs, strict=True)]
        options = question.criteria if question.type == "choice" else rendered[0].options
        return {option: sum(some[option] for some in each) / len(each) for option in options}

    def _softmax(self, listed: RenderedQuestion, logs: Sequence[float]) -> dict[str, float]:
        scaled = [value / self.temperature for value in logs]
        if not all(map(isfinite, scaled)):
            raise RunError(
                "the model gave likelihoods that are no numbers; its weights are broken or overflow in this dtype"
            )
        weights = [exp(value - max(scaled)) for value in scaled]
        return {option: weight / sum(weights) for option, weight in zip(listed.options, weights, strict=True)}


def without_prior(logs: LeafScores, priors: Sequence[Sequence[float]]) -> LeafScores:
    """Likelihoods divided by those for a content-free text, in logarithms."""
    return tuple(
        tuple(value - prior for value, prior in zip(log, before, strict=True))
        for log, before in zip(logs, priors, strict=True)
    )


def per_token(logs: LeafScores, tokens: Sequence[Sequence[int]]) -> LeafScores:
    """Likelihoods as means over the tokens of each option, in logarithms."""
    return tuple(
        tuple(value / count for value, count in zip(log, counts, strict=True))
        for log, counts in zip(logs, tokens, strict=True)
    )
