"""From the log-likelihoods of options to a decision: corrections, probabilities, threshold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, isfinite
from typing import Literal, get_args

from qwen_allinone.errors import QuestionError, RunError
from qwen_allinone.model.decisions.questions import Question
from qwen_allinone.model.engine.capabilities import Capabilities

Order = Literal["sorted", "given"]
Method = Literal["learned", "scored", "both"]
State = Literal["accepted", "ambiguous", "out_of_scope"]


@dataclass(frozen=True)
class Calibration:
    """Training-free corrections of a small model's bias towards labels and positions."""

    prior: bool = False
    """Divide by each option's probability for a content-free text (Zhao et al., 2021, arXiv:2102.09690)."""
    length_normalized: bool = False
    """Take the mean log-likelihood of an option's tokens, not their sum, which favours short options."""
    permutations: int = 1
    """Average over this many rotations of the option list, in the same pass."""
    order: Order = "sorted"
    """Order in which the options of a choice are listed to the model: sorted, so that no decision depends on the order
    in which the caller gave them, or as given."""
    temperature: float = 1.0
    """Divides the log-likelihoods; above 1 the probabilities are flatter."""

    def __post_init__(self) -> None:
        if self.permutations < 1 or not self.temperature > 0:
            raise QuestionError("permutations must be at least 1 and the temperature positive")
        if self.order not in get_args(Order):
            raise QuestionError(f"options cannot be listed in the order {self.order!r}; allowed: sorted, given")

    @classmethod
    def from_capabilities(cls, capabilities: Capabilities) -> "Calibration":
        """Return the corrections that a model declares."""
        return cls(prior=capabilities.prior, length_normalized=capabilities.length_normalized)

    def orders(self, question: Question) -> list[Sequence[int] | None]:
        """Return the orders in which options are listed to the model, at least one; only those of a choice move."""
        if question.type != "choice":
            return [None]
        labels = list(question.criteria)
        first = list(range(len(labels)))
        if self.order == "sorted":
            first.sort(key=labels.__getitem__)
        # Rotations, not all permutations: each option stands in every place as often as in any other.
        starts = range(max(1, min(self.permutations, len(labels))))
        return [first[start:] + first[:start] for start in starts]

    def probabilities(self, question: Question, rotations: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """Average over the rotations of a question, options in the question's own order.

        Args:
            question: was asked.
            rotations: for each of them, option to log-likelihood.

        Raises:
            RunError: a log-likelihood is no number.
        """
        means = dict.fromkeys(question.criteria if question.type == "choice" else rotations[0], 0.0)
        for logs in rotations:
            for option, probability in self._softmax(logs).items():
                means[option] += probability / len(rotations)
        return means

    def _softmax(self, logs: Mapping[str, float]) -> dict[str, float]:
        scaled = {option: value / self.temperature for option, value in logs.items()}
        if not all(map(isfinite, scaled.values())):
            raise RunError(
                "the model gave likelihoods that are no numbers; its weights are broken or overflow in this dtype"
            )
        # Shifted by the highest, so that no exponential overflows.
        highest = max(scaled.values())
        weights = {option: exp(value - highest) for option, value in scaled.items()}
        total = sum(weights.values())
        return {option: weight / total for option, weight in weights.items()}


@dataclass(frozen=True)
class Threshold:
    """Bounds from which a decision is sure enough; below any of them it abstains."""

    probability: float = 0.0
    """Of the best option; below it the decision is ambiguous."""
    margin: float = 0.0
    """Between the best two options; below it the decision is ambiguous."""
    typicality: float = 0.0
    """Of a learned decision; below it the text is out of scope. At 0.05 one in twenty of those in scope is lost."""

    def __post_init__(self) -> None:
        for name, bound in vars(self).items():
            if not 0 <= bound <= 1:
                raise QuestionError(f"the threshold of the {name} must lie between 0 and 1; given: {bound}")

    def state(self, probability: float, margin: float | None, typicality: float | None) -> State:
        """Return what these bounds make of a decision."""
        if typicality is not None and typicality < self.typicality:
            return "out_of_scope"
        sure = probability >= self.probability and (margin or 0.0) >= self.margin
        return "accepted" if sure else "ambiguous"


@dataclass(frozen=True)
class Decision:
    """Every option's probability, and whether the best one was accepted."""

    probabilities: Mapping[str, float]
    """Option to probability, in the question's own order; sums to one."""
    state: State = "accepted"
    """Whether the best option is accepted; where two are close the text is ambiguous, and where it is far from all
    examples it is out of scope."""
    method: Method = "scored"
    """Source of the probabilities: a head that was learned from examples, the scores of the options, or both."""
    typicality: float | None = None
    """Share of the examples that are less like any option than the text, in [0, 1]; None if none were learned from."""

    @classmethod
    def from_probabilities(
        cls,
        probabilities: Mapping[str, float],
        threshold: Threshold | None = None,
        *,
        method: Method = "scored",
        typicality: float | None = None,
    ) -> "Decision":
        """Decide by the highest probability; ties go to the option listed first."""
        found = cls(dict(probabilities), method=method, typicality=typicality)
        return found.apply_threshold(threshold or Threshold())

    def apply_threshold(self, threshold: Threshold) -> "Decision":
        """Return the same decision, accepted or not by this threshold."""
        state = threshold.state(self.probability, self.margin, self.typicality)
        return self if state == self.state else replace(self, state=state)

    @property
    def accepted(self) -> bool:
        """True if the best option is sure enough; otherwise the decision abstains."""
        return self.state == "accepted"

    @property
    def option(self) -> str:
        """The most probable option, also when the decision abstains."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def probability(self) -> float:
        """Probability of the best option, in [0, 1]."""
        return self.probabilities[self.option]

    @property
    def margin(self) -> float | None:
        """Distance between the best two probabilities, in [0, 1]; None if there is one option only."""
        if len(self.probabilities) < 2:
            return None
        best, second = sorted(self.probabilities.values(), reverse=True)[:2]
        return best - second

    @property
    def level(self) -> float:
        """Expected level of a ``Score``, from 0 to the number of levels minus one.

        Raises:
            ValueError: the options are not levels.
        """
        return sum(int(option) * probability for option, probability in self.probabilities.items())
