"""Evaluation runs: every row of a labelled set decided once."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from os import PathLike
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from qwen_allinone.errors import DataFileError, QwenAllInOneError
from qwen_allinone.eval.dataset import LabelledRow, LabelledSet
from qwen_allinone.eval.report import RESULT_FILES, EvalReport
from qwen_allinone.eval.result_folder import require_writable
from qwen_allinone.eval.sample import Sample

if TYPE_CHECKING:
    from qwen_allinone.model.decisions.decision import Decision

Decide = Callable[[str], "Decision"]
"""Decides about one text."""
DecideAll = Callable[[Iterable[str]], Iterable["Decision | QwenAllInOneError"]]
"""Decides about many texts in their order; an error takes the place of a decision that could not be made."""

Progress = Callable[[int, int], None]
"""Called after each row with the number of rows done and of all rows."""


@dataclass(frozen=True)
class EvalRun:
    """A labelled set and the model that decides it."""

    task: str
    labelled_set: LabelledSet
    _: KW_ONLY
    model: str
    """Name of the model in the report."""
    decide: Decide | None = None
    decide_all: DecideAll | None = None
    """Given in place of ``decide``; faster where texts share passes."""
    options_vary: bool = False
    """True if each row has options of its own: its labels must be among them, not those of the whole set."""

    def __post_init__(self) -> None:
        if (self.decide is None) is (self.decide_all is None):
            raise TypeError("give either decide or decide_all")

    def execute(self, out: str | PathLike[str] | None = None, *, progress: Progress | None = None) -> EvalReport:
        """Decide every row and count.

        A row whose text raises one of this package's errors is unscored and carries the message; so is a row whose
        text or label is blank, which is not decided. The run goes on.

        Args:
            out: folder for ``samples.jsonl`` (a line per row) and ``summary.json`` (the report), which appear together
                at the end or not at all; earlier ones are replaced.
            progress: called after each row.

        Raises:
            DataFileError: the folder cannot be written, which is checked first, or labels of the set are not among the
                options decided.
            RunError: the folder can no longer be written at the end; ``EvalReport.save`` after ``execute`` without
                ``out`` keeps the report in that case.
        """
        if out is not None:
            require_writable(Path(out), RESULT_FILES)
        start = perf_counter()
        samples = tuple(self._samples(progress))
        report = EvalReport.from_samples(
            samples,
            self.task,
            data=self.labelled_set.name,
            data_digest=self.labelled_set.digest,
            model=self.model,
            seconds=perf_counter() - start,
        )
        if out is not None:
            report.save(out)
        return report

    def _samples(self, progress: Progress | None) -> Iterator[Sample]:
        rows = self.labelled_set.rows
        complete = [row for row in rows if row.blank is None]
        decided = zip(complete, self._results([row.text for row in complete]), strict=True)
        labels_known = False
        for done, row in enumerate(rows, start=1):
            sample = _sample(*next(decided)) if row.blank is None else Sample(row, error=row.blank)
            if sample.decision is not None and not labels_known:
                self._require_known_labels(
                    row.labels if self.options_vary else self.labelled_set.labels, sample.decision
                )
                labels_known = not self.options_vary
            yield sample
            if progress is not None:
                progress(done, len(rows))
        next(decided, None)  # zip refuses a decision too many only when it is asked for one more

    def _results(self, texts: list[str]) -> Iterable["Decision | QwenAllInOneError"]:
        return map(self._result, texts) if self.decide_all is None else self.decide_all(texts)

    def _result(self, text: str) -> "Decision | QwenAllInOneError":
        assert self.decide is not None
        try:
            return self.decide(text)
        except QwenAllInOneError as error:
            return error

    def _require_known_labels(self, labels: Sequence[str], decision: "Decision") -> None:
        unknown = [label for label in labels if label not in decision.probabilities]
        if unknown:
            raise DataFileError(
                f"{self.labelled_set.name}: labels that are never decided: {', '.join(unknown)}; "
                f"the options are: {', '.join(decision.probabilities)}; map the labels to these"
            )


def _sample(row: LabelledRow, result: "Decision | QwenAllInOneError") -> Sample:
    if isinstance(result, QwenAllInOneError):
        return Sample(row, error=f"{type(result).__name__}: {result}")
    return Sample(row, result)
