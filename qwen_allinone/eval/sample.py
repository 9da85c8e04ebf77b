"""One row and its decision."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qwen_allinone.eval.dataset import LabelledRow

if TYPE_CHECKING:
    from qwen_allinone.model.decisions.decision import Decision


@dataclass(frozen=True)
class Sample:
    """A row with its decision, or with the error that came instead."""

    row: LabelledRow
    decision: "Decision | None" = None
    error: str | None = None

    @property
    def abstained(self) -> bool:
        """True if there was a decision, but it was not sure enough."""
        return self.decision is not None and not self.decision.accepted

    @property
    def predicted(self) -> str | None:
        """Option that was decided; None after an abstention or an error: the row is unscored."""
        return self.decision.option if self.decision is not None and self.decision.accepted else None

    @property
    def correct(self) -> bool | None:
        """True if the prediction is one of the accepted labels; None if the row is unscored."""
        return None if self.predicted is None else self.predicted in self.row.labels

    @property
    def truth(self) -> str:
        """Label that a scored row counts for: the predicted one if it is accepted, else the row's first."""
        predicted = self.predicted
        return predicted if predicted is not None and self.correct else self.row.labels[0]

    def to_json(self) -> dict[str, Any]:
        """Return one line of ``samples.jsonl``; probabilities are kept when the decision abstained."""
        return {
            "id": self.row.id,
            "text": self.row.text,
            "labels": list(self.row.labels),
            "predicted": self.predicted,
            "correct": self.correct,
            "probabilities": None if self.decision is None else dict(self.decision.probabilities),
            "margin": None if self.decision is None else self.decision.margin,
            "abstained": self.abstained,
            "error": self.error,
            "slices": list(self.row.slices),
        }
