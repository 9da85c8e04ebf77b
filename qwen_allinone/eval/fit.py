"""What examples are worth: a question judged out of fold, beside scoring and beside n-grams on the same rows."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

from qwen_allinone.errors import CapabilityError, DataFileError
from qwen_allinone.eval.dataset import LabelledRow, LabelledSet
from qwen_allinone.eval.metrics import OperatingPoint, PairedTest, Proportion, operating_point
from qwen_allinone.eval.ngrams import predictions_out_of_fold
from qwen_allinone.eval.report import EvalReport
from qwen_allinone.eval.run import Progress
from qwen_allinone.eval.sample import Sample
from qwen_allinone.model.decisions.examples import Examples

if TYPE_CHECKING:
    from qwen_allinone.model import Choice, SharedQwen
    from qwen_allinone.model.decisions.learner import FitReport

MAX_SCORED = 200
"""Rows that are scored for the comparison; they cost a pass over the question each."""
MIN_PREDICTED = 1_000
"""Rows that n-grams predict for the comparison, if there are as many."""

Predicted = Mapping[str, str | None]
"""Text to the label that it was given."""


@dataclass(frozen=True)
class Rival:
    """Another way to decide, on some of the same rows."""

    name: str
    accuracy: Proportion
    learned: Proportion
    """Accuracy of the learned decisions on these rows."""
    paired: PairedTest

    @classmethod
    def from_predictions(cls, name: str, predicted: Predicted, samples: Sequence[Sample]) -> "Rival":
        """Compare on the rows that have a prediction."""
        ours: list[bool] = []
        theirs: list[bool] = []
        for sample in samples:
            if sample.row.text in predicted:
                ours.append(bool(sample.correct))
                theirs.append(predicted[sample.row.text] in sample.row.labels)
        return cls(
            name,
            Proportion(sum(theirs), len(theirs)),
            Proportion(sum(ours), len(ours)),
            PairedTest.from_hits(ours, theirs),
        )


@dataclass(frozen=True)
class FittedQuestion:
    """A question that was fitted to labelled rows, and what that is worth."""

    question: "Choice"
    fit: "FitReport"
    report: EvalReport
    """Every row that could be left out, decided by a head that was fitted without it."""
    rivals: Sequence[Rival] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Reason to the number of rows that taught nothing."""

    def operating_point(
        self, *, max_error: float | None = None, coverage: float | None = None
    ) -> OperatingPoint | None:
        """Return the threshold for a wanted error or coverage; None if no threshold gives it."""
        return operating_point(self.report.samples, max_error=max_error, coverage=coverage)

    def to_json(self) -> dict[str, Any]:
        """Return the figures, in JSON types."""
        report = self.report.to_json()
        kept = ("n", "accuracy", "interval", "macro_f1", "baseline", "per_class", "calibration", "data", "data_digest")
        return {
            "model": self.report.model,
            **asdict(self.fit),
            **{name: report[name] for name in kept},
            "rivals": {each.name: _rival(each) for each in self.rivals},
            "left_out": dict(self.left_out),
        }


def fit_rows(
    qwen: "SharedQwen",
    question: "Choice",
    rows: LabelledSet,
    *,
    compare: bool = True,
    progress: Progress = lambda _done, _all: None,
) -> FittedQuestion:
    """Make the rows the examples of a question, and judge it out of fold.

    Args:
        qwen: learns.
        question: its own examples, if any, are left aside; labels that are no option of it are refused.
        rows: each with one label; blank rows and those of several labels are left out.
        compare: decide rows by scoring and by n-grams too.
        progress: called with the number of rows that were compared and of all that will be.

    Raises:
        DataFileError: a label is no option, or there is nothing to learn from.
        CapabilityError: the model is on a server.
        QuestionError: a text stands under two labels, or the examples cannot be learned from.
    """
    if not qwen.learner.layers:
        raise CapabilityError(f"{qwen.name} gives no hidden states to learn from; fit a model in memory")
    examples, left_out = _examples(question, rows)
    if len(Examples(examples).judged) < 2:
        raise DataFileError(f"{rows.name}: nothing can be learned; give two labels two texts or more each")
    taught = type(question)(**question.model_dump() | {"examples": examples})
    start = perf_counter()
    (fit,) = qwen.fit([taught])
    assert fit is not None
    samples = []
    for number, (text, label, decision) in enumerate(qwen.learner.out_of_fold(taught), start=1):
        samples.append(Sample(_row(number, text, label), decision))
    report = EvalReport.from_samples(
        samples,
        "fit",
        data=rows.name,
        data_digest=rows.digest,
        model=qwen.name,
        seconds=perf_counter() - start,
    )
    rivals = _rivals(qwen, taught, samples, progress) if compare else ()
    return FittedQuestion(taught, fit, report, rivals, left_out)


def _examples(question: "Choice", rows: LabelledSet) -> tuple[dict[str, tuple[str, ...]], dict[str, int]]:
    examples: dict[str, list[str]] = {}
    left_out: dict[str, int] = {}
    for row in rows.rows:
        reason = row.blank or ("several labels" if len(row.labels) > 1 else None)
        if reason is not None:
            left_out[reason] = left_out.get(reason, 0) + 1
            continue
        examples.setdefault(row.labels[0], []).append(row.text)
    unknown = [label for label in examples if label not in question.criteria]
    if unknown:
        raise DataFileError(
            f"{rows.name}: labels that are no options: {', '.join(map(repr, unknown[:5]))}; "
            f"the options are: {', '.join(question.criteria)}"
        )
    return {label: tuple(texts) for label, texts in examples.items()}, left_out


def _row(number: int, text: str, label: str) -> LabelledRow:
    from qwen_allinone.model.prompt.language import language_of

    language = language_of(text)
    return LabelledRow(str(number), text, (label,), language, (f"language:{language}",))


def _rivals(qwen: "SharedQwen", question: "Choice", samples: Sequence[Sample], progress: Progress) -> Sequence[Rival]:
    step = max(1, len(samples) // MAX_SCORED)
    scored = [sample.row.text for sample in samples[::step][:MAX_SCORED]]
    total = len(scored) + 1
    by_scores: dict[str, str | None] = {}
    answers = qwen.decide_all(((text, {"": question}) for text in scored), learned=False)
    for done, (text, answer) in enumerate(zip(scored, answers, strict=True), start=1):
        by_scores[text] = answer[""].option
        progress(done, total)
    rows = [(sample.row.text, sample.row.labels[0]) for sample in samples]
    by_ngrams = {}
    for place, label in predictions_out_of_fold(rows, judged=MIN_PREDICTED).items():
        by_ngrams[rows[place][0]] = label
    progress(total, total)
    return (
        Rival.from_predictions("scoring", by_scores, samples),
        Rival.from_predictions("n-grams", by_ngrams, samples),
    )


def _rival(rival: Rival) -> dict[str, Any]:
    return {
        "n": rival.accuracy.n,
        "accuracy": rival.accuracy.value,
        "learned": rival.learned.value,
        "only_learned_right": rival.paired.first,
        "only_rival_right": rival.paired.second,
        "p_value": rival.paired.p_value,
    }
