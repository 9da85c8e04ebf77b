"""Tables of a report, for people who have read nothing about it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from qwen_allinone.eval.metrics import Proportion
from qwen_allinone.eval.report import EvalReport

MAX_ERRORS = 3
"""Most error messages that are shown."""
MAX_WIDTH = 1_000
"""Columns within which every table is measured."""


def report_tables(report: EvalReport) -> RenderableType:
    """Lay out summary, labels, slices and confusion, one below the other, for a terminal of any width."""
    title = f"{report.task}: {report.model} on {report.data}"
    parts: list[RenderableType] = [Text(title, style="bold"), _summary(report)]
    if report.accuracy.n:
        parts += [_per_class(report), _confusion(report)]
    if report.slices:
        parts.append(_slices(report))
    return Group(*parts)


def percent(value: float | None) -> str:
    """Format with one decimal, such as ``87.5 %``; a dash for None."""
    return "-" if value is None else f"{100 * value:.1f} %"


def interval(share: Proportion) -> str:
    """Format low and high end, such as ``84.1 to 90.2 %``; a dash where there were no trials."""
    if share.interval is None:
        return "-"
    low, high = share.interval
    return f"{100 * low:.1f} to {100 * high:.1f} %"


@dataclass(frozen=True)
class _Figures:
    """A table of named rows, or one row below the other where the terminal is too narrow for it."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = self._table()
        width = Measurement.get(console, options.update(width=MAX_WIDTH), table).maximum
        yield Text(f"\n{self.title}", style="bold")
        yield table if width <= options.max_width else self._list()

    def _table(self) -> Table:
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for index, column in enumerate(self.columns):
            table.add_column(Text(column), justify="right" if index else "left", no_wrap=True)
        for row in self.rows:
            table.add_row(*map(Text, row))
        return table

    def _list(self) -> Group:
        parts: list[RenderableType] = []
        for name, *values in self.rows:
            figures = Table.grid(padding=(0, 2))
            for column, value in zip(self.columns[1:], values, strict=True):
                figures.add_row(Text(column), Text(value))
            parts += [Text(name), Padding(figures, (0, 0, 0, 2))]
        return Group(*parts)


def _summary(report: EvalReport) -> Table:
    table = Table.grid(padding=(0, 3))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")  # a long path in a message is broken, not cut
    for name, words in _summary_rows(report):
        table.add_row(Text(name), Text(words))
    return table


def _summary_rows(report: EvalReport) -> list[tuple[str, str]]:
    share, calibration = report.accuracy, report.calibration
    found = f"95 % interval {interval(share)}, {share.hits} of {share.n} right"
    rows = [("accuracy", f"{percent(share.value)}   ({found})")]
    if report.baseline is not None:
        always = f"always {report.baseline.label!r}: {percent(report.baseline.accuracy.value)}"
        rows.append(("baseline", f"{always}   ({_verdict(report)})"))
    rows += [
        ("unscored", f"{report.unscored} of {report.n} rows   ({_unscored(report)})"),
        ("macro F1", percent(report.macro_f1)),
        ("confidence", f"{percent(calibration.mean_confidence)} on average"),
        ("calibration error", f"{percent(calibration.expected_error)}   (0: probabilities mean what they say)"),
        ("time", f"{report.seconds:.1f} s"),
    ]
    for message, count in list(report.errors.items())[:MAX_ERRORS]:
        rows.append((f"error, {count} times" if count > 1 else "error", message))
    return rows


def _verdict(report: EvalReport) -> str:
    always = report.baseline.accuracy.value if report.baseline is not None else None
    found = report.accuracy.interval
    if always is None or found is None:
        return "nothing was scored"
    if found[0] > always:
        return "the model is better"
    return "the model is worse" if found[1] < always else "no clear difference"


def _unscored(report: EvalReport) -> str:
    return f"{report.abstained} not sure enough, {sum(report.errors.values())} errors; not part of the accuracy"


def _per_class(report: EvalReport) -> _Figures:
    table = _Figures("per label", ["label", "precision", "recall", "F1", "rows"])
    for each in report.per_class:
        figures = [percent(each.precision), percent(each.recall), percent(each.f1)]
        table.rows.append([each.label, *figures, str(each.support)])
    return table


def _confusion(report: EvalReport) -> _Figures:
    labels = report.confusion.labels
    table = _Figures("confusion: true label / predicted", ["", *labels])
    for label, counts in zip(labels, report.confusion.counts, strict=True):
        table.rows.append([label, *map(str, counts)])
    return table


def _slices(report: EvalReport) -> _Figures:
    table = _Figures("slices", ["slice", "rows", "unscored", "accuracy", "95 % interval"])
    for each in report.slices:
        share = each.accuracy
        table.rows.append([each.name, str(share.n), str(each.unscored), percent(share.value), interval(share)])
    return table
