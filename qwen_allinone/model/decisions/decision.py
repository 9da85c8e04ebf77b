"""The answer to a question."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Threshold:
    """Bounds from which a decision is sure enough; below either of them it abstains."""

    probability: float = 0.0
    margin: float = 0.0


@dataclass(frozen=True)
class Decision:
    """Every option's probability, and whether the best one was accepted."""

    probabilities: Mapping[str, float]
    """Option to probability, in the question's own order; sums to one."""
    accepted: bool
    """False: the model abstains, its best option is below the threshold."""

    @classmethod
    def from_probabilities(cls, probabilities: Mapping[str, float], threshold: Threshold | None = None) -> "Decision":
        """Decide by the highest probability; ties go to the option listed first."""
        return cls(dict(probabilities), accepted=True).apply_threshold(threshold or Threshold())

    def apply_threshold(self, threshold: Threshold) -> "Decision":
        """Return the same decision, accepted or not by this threshold."""
        sure = self.probability >= threshold.probability and (self.margin or 0.0) >= threshold.margin
        return self if sure == self.accepted else Decision(self.probabilities, sure)

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
