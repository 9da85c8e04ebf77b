"""One scored pass over a labelled set."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import KW_ONLY, dataclass
from os import PathLike
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from qwen_allinone.errors import DataFileError, QwenAllInOneError
from qwen_allinone.eval.labelled_set import LabelledRow, LabelledSet
from qwen_allinone.eval.report import EvalReport
from qwen_allinone.eval.result_folder import result_folder
from qwen_allinone.eval.sample import Sample

if TYPE_CHECKING:
    from qwen_allinone.model.decision import Decision

Decide = Callable[[str], "Decision"]
"""Decides about one text."""
DecideAll = Callable[[Iterable[str]], Iterable["Decision | QwenAllInOneError"]]
"""Decides about many texts in their order; an error takes the place of the decision that could not be had."""

Progress = Callable[[int, int], None]
"""Told after each row how many of how many are done."""

SAMPLES, SUMMARY = "samples.jsonl", "summary.json"


@dataclass(frozen=True)
class EvalRun:
    """What is evaluated: who decides, on which rows."""

    task: str
    labelled_set: LabelledSet
    _: KW_ONLY
    model: str
    """Names the model in the report."""
    decide: Decide | None = None
    decide_all: DecideAll | None = None
    """In place of ``decide``, which it outruns where texts share passes."""
    options_vary: bool = False
    """True if each row has options of its own: its labels must be among them, not those of the whole set."""

    def __post_init__(self) -> None:
        if (self.decide is None) is (self.decide_all is None):
            raise TypeError("give either decide or decide_all")

    def execute(self, out: str | PathLike[str] | None = None, *, progress: Progress | None = None) -> EvalReport:
        """Decide every row and count.

        A row whose text raises one of this package's errors is unscored and carries the message; the run goes on.

        Args:
            out: folder for ``samples.jsonl`` (a line per row) and ``summary.json`` (the report), which appear together
                at the end or not at all; earlier ones are replaced.
            progress: called after each row.

        Raises:
            DataFileError: the folder cannot be written, or labels of the set are not among the options decided.
        """
        staged = nullcontext(None) if out is None else result_folder(Path(out), [SAMPLES, SUMMARY])
        with staged as folder:
            start = perf_counter()
            samples = tuple(self._samples(progress))
            report = EvalReport.of(
                samples,
                self.task,
                data=self.labelled_set.name,
                data_digest=self.labelled_set.digest,
                model=self.model,
                seconds=perf_counter() - start,
            )
            if folder is not None:
                _write(report, folder)
        return report

    def _samples(self, progress: Progress | None) -> Iterator[Sample]:
        rows = self.labelled_set.rows
        compared = False
        for done, (row, result) in enumerate(zip(rows, self._results(), strict=True), start=1):
            sample = _judged(row, result)
            if sample.decision is not None and not compared:
                self._compare_labels(row.labels if self.options_vary else self.labelled_set.labels, sample.decision)
                compared = not self.options_vary
            yield sample
            if progress is not None:
                progress(done, len(rows))

    def _results(self) -> Iterable["Decision | QwenAllInOneError"]:
        texts = [row.text for row in self.labelled_set.rows]
        return map(self._result, texts) if self.decide_all is None else self.decide_all(texts)

    def _result(self, text: str) -> "Decision | QwenAllInOneError":
        assert self.decide is not None
        try:
            return self.decide(text)
        except QwenAllInOneError as error:
            return error

    def _compare_labels(self, labels: Sequence[str], decision: "Decision") -> None:
        unknown = [label for label in labels if label not in decision.probabilities]
        if unknown:
            raise DataFileError(
                f"{self.labelled_set.name}: labels that are never decided: {', '.join(unknown)}; "
                f"the options are: {', '.join(decision.probabilities)}; map the labels to these"
            )


def _judged(row: LabelledRow, result: "Decision | QwenAllInOneError") -> Sample:
    if isinstance(result, QwenAllInOneError):
        return Sample(row, error=f"{type(result).__name__}: {result}")
    return Sample(row, result)


def _write(report: EvalReport, folder: Path) -> None:
    with (folder / SAMPLES).open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(sample.to_json(), ensure_ascii=False) + "\n" for sample in report.samples)
    summary = json.dumps(report.to_json(), ensure_ascii=False, indent=2)
    (folder / SUMMARY).write_text(summary + "\n", encoding="utf-8", newline="\n")
