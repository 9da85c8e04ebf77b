"""A report as tables that a newcomer understands."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from qwen_allinone.eval.metrics import Proportion
from qwen_allinone.eval.report import EvalReport

_SHOWN_ERRORS = 3


def report_tables(report: EvalReport) -> RenderableType:
    """Summary, labels, slices and confusion, one below the other, for a terminal."""
    parts: list[RenderableType] = [_summary(report)]
    if report.accuracy.n:
        parts += [_per_class(report), _confusion(report)]
    if report.slices:
        parts.append(_slices(report))
    return Group(*parts)


def percent(value: float | None) -> str:
    """One decimal, such as ``87.5 %``; a dash for a figure of nothing."""
    return "-" if value is None else f"{100 * value:.1f} %"


def interval(share: Proportion) -> str:
    """Low and high, such as ``84.1 to 90.2 %``; a dash for a figure of nothing."""
    if share.interval is None:
        return "-"
    low, high = share.interval
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def _summary(report: EvalReport) -> Table:
    table = _table(f"{report.task}: {report.model} on {report.data}", ["", ""], headed=False)
    share = report.accuracy
    _add(
        table,
        "accuracy",
        f"{percent(share.value)}   (95 % interval {interval(share)}, {share.hits} of {share.n} right)",
    )
    if report.baseline is not None:
        always = f"always {report.baseline.label!r}: {percent(report.baseline.accuracy.value)}"
        _add(table, "baseline", f"{always}   ({_verdict(report)})")
    _add(table, "unscored", f"{report.unscored} of {report.n} rows   ({_unscored(report)})")
    _add(table, "macro F1", percent(report.macro_f1))
    _add(table, "confidence", f"{percent(report.calibration.mean_confidence)} on average")
    _add(
        table,
        "calibration error",
        f"{percent(report.calibration.expected_error)}   (0: probabilities mean what they say)",
    )
    _add(table, "time", f"{report.seconds:.1f} s")
    for message, count in list(report.errors.items())[:_SHOWN_ERRORS]:
        _add(table, f"error, {count} times" if count > 1 else "error", message)
    return table


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


def _per_class(report: EvalReport) -> Table:
    table = _table("per label", ["label", "precision", "recall", "F1", "rows"])
    for each in report.per_class:
        _add(table, each.label, percent(each.precision), percent(each.recall), percent(each.f1), str(each.support))
    return table


def _confusion(report: EvalReport) -> Table:
    labels = report.confusion.labels
    table = _table("confusion", ["true label / predicted", *labels])
    for label, counts in zip(labels, report.confusion.counts, strict=True):
        _add(table, label, *map(str, counts))
    return table


def _slices(report: EvalReport) -> Table:
    table = _table("slices", ["slice", "rows", "unscored", "accuracy", "95 % interval"])
    for each in report.slices:
        share = each.accuracy
        _add(table, each.name, str(share.n), str(each.unscored), percent(share.value), interval(share))
    return table


def _table(title: str, columns: Sequence[str], *, headed: bool = True) -> Table:
    table = Table(title=Text(title, style="bold"), title_justify="left", box=SIMPLE_HEAD, show_header=headed)
    for index, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if index and headed else "left")
    return table


def _add(table: Table, *cells: str) -> None:
    table.add_row(*map(Text, cells))
