"""The commands ``fit`` and ``decide``: learn from a labelled file, and decide by what was learned."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from qwen_allinone.cli import terminal
from qwen_allinone.cli.options import AsJson, Model, open_qwen
from qwen_allinone.errors import InputError

if TYPE_CHECKING:
    from qwen_allinone.eval import FittedQuestion, LabelledSet
    from qwen_allinone.eval.metrics import OperatingPoint
    from qwen_allinone.model import Choice
    from qwen_allinone.model.prompt.language import Language

_INSTRUCTIONS = {"zh": "上面的文字属于哪一类？", "en": "Which label fits the text above?"}
_SHOWN_ERROR = 0.05
"""Error for which the coverage is always shown."""


class FitTask(StrEnum):
    """Questions that a file can teach."""

    CHOICE = "choice"
    ROUTE = "route"
    SENTIMENT = "sentiment"


def fit(
    data: Annotated[Path, typer.Argument(metavar="FILE", help="CSV、TSV 或 JSONL。 · CSV, TSV or JSONL.")],
    *,
    task: Annotated[
        FitTask,
        typer.Option(
            help="choice：标签就是选项；route、sentiment：自带的问题。 · "
            "choice: the labels are the options; route, sentiment: the built-in questions."
        ),
    ] = FitTask.CHOICE,
    text_column: Annotated[str, typer.Option(help="文本列。 · Column of the text.")] = "text",
    label_column: Annotated[str, typer.Option(help="标签列。 · Column of the label.")] = "label",
    instructions: Annotated[
        str | None,
        typer.Option(help="问什么；打分时用。 · What is asked; used for scoring.", show_default=False),
    ] = None,
    max_error: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="接受的判断里最多错多少。 · Wanted error among accepted decisions.", show_default=False
        ),
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="至少接受多少。 · Wanted share of accepted decisions.", show_default=False),
    ] = None,
    typicality: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="与例子都不像的算超出范围：0.05 会舍去 5 % 的例子。 · "
            "Texts unlike all examples are out of scope: 0.05 gives up 5 % of the examples.",
        ),
    ] = 0.0,
    out: Annotated[
        Path | None,
        typer.Option(help="写入锁文件，供 decide 使用。 · Lock file to write, for decide.", show_default=False),
    ] = None,
    compare: Annotated[
        bool, typer.Option(help="与打分和 n-gram 比较。 · Compare with scoring and with n-grams.")
    ] = True,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """从标注文件学习，留一检验，定阈值。 · Learn from a labelled file, judged out of fold; set a threshold."""
    from qwen_allinone.eval import LABEL_MAPS, LabelledSet, fit_rows
    from qwen_allinone.model import DecisionLock, Threshold

    if max_error is not None and coverage is not None:
        raise InputError("--max-error and --coverage are both given; give one of the two")
    label_map = LABEL_MAPS["sentiment"] if task is FitTask.SENTIMENT else None
    rows = LabelledSet.from_file(data, text_column, label_column=label_column, label_map=label_map)
    question = _question(task, rows, instructions)
    qwen = open_qwen(model)
    with terminal.progress_bar("compare") as progress:
        fitted = fit_rows(qwen, question, rows, compare=compare, progress=progress)
    wanted = {"coverage": coverage} if coverage is not None else {"max_error": max_error}
    point = fitted.operating_point(**wanted) if coverage is not None or max_error is not None else None
    if point is None and (coverage, max_error) != (None, None):
        raise InputError(f"no threshold makes an error of {max_error:.1%} or less; allow more, or give more examples")
    figures = _figures(fitted, point)
    if out is not None:
        threshold = Threshold(probability=point.threshold if point else 0.0, typicality=typicality)
        DecisionLock(fitted.question, qwen.name, qwen.digest, threshold, figures).save(out)
    terminal.show_json(figures) if as_json else _show(fitted, point, out)


def decide(
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT", help="文本；- 表示标准输入。 · Texts; - is standard input."),
    ] = None,
    *,
    lock: Annotated[Path, typer.Option(help="fit 写的锁文件。 · Lock file that fit wrote.", show_default=False)],
    file: Annotated[
        str | None,
        typer.Option(
            metavar="LINES.txt", help="每行一条的文本文件；- 表示标准输入。 · A text per line; - is standard input."
        ),
    ] = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """按锁文件判断。 · Decide by a lock file, for one text or many."""
    from qwen_allinone.model import DecisionLock

    if bool(texts) == (file is not None):
        raise InputError("decide needs either texts or --file; give one of the two")
    locked = DecisionLock.from_file(lock)
    given = [terminal.read_text(text) for text in texts or ()] if file is None else terminal.read_lines(file)
    checked = [terminal.require_text(text, f"line {number}") for number, text in enumerate(given, start=1)]
    qwen = open_qwen(model)
    locked.require(qwen.digest)
    asked = ((text, {"": locked.question}) for text in checked)
    for text, answer in zip(checked, qwen.decide_all(asked, threshold=locked.threshold), strict=True):
        decision = answer[""]
        if as_json:
            found: dict[str, Any] = {"text": text, "option": decision.option, "state": decision.state}
            terminal.show_json(found | {"probabilities": dict(decision.probabilities), "margin": decision.margin})
        else:
            mark = "" if decision.accepted else f" ({decision.state.replace('_', ' ')})"
            terminal.show(f"{decision.option}{mark}  {decision.probability:.2f}  {terminal.shortened(text)}")


def _question(task: FitTask, rows: "LabelledSet", instructions: str | None) -> "Choice":
    from qwen_allinone.model import Choice
    from qwen_allinone.router import builtin_routes, route_question
    from qwen_allinone.tools.sentiment import mood_question

    languages = [row.language for row in rows.rows]
    language: Language = "zh" if languages.count("zh") * 2 >= len(languages) else "en"
    if task is FitTask.CHOICE:
        return Choice(instructions=instructions or _INSTRUCTIONS[language], criteria=dict.fromkeys(rows.labels))
    base = route_question(builtin_routes(), language) if task is FitTask.ROUTE else mood_question("en")
    return base if instructions is None else base.model_copy(update={"instructions": instructions})


def _figures(fitted: "FittedQuestion", point: "OperatingPoint | None") -> dict[str, Any]:
    figures = fitted.to_json()
    usual = fitted.operating_point(max_error=_SHOWN_ERROR)
    figures["coverage_at_5_percent_error"] = usual.coverage.value if usual else 0.0
    if point is not None:
        figures["threshold"] = {
            "probability": point.threshold,
            "coverage": point.coverage.value,
            "error": point.error.value,
        }
    return figures


def _show(fitted: "FittedQuestion", point: "OperatingPoint | None", out: Path | None) -> None:
    from qwen_allinone.eval.tables import interval, percent

    report, fit_report = fitted.report, fitted.fit
    table = Table.grid(padding=(0, 3))
    share, calibration = report.accuracy, report.calibration

    def row(name: str, words: str) -> None:
        table.add_row(Text(name), Text(words))

    row(
        "decided", f"{fit_report.method}, from {fit_report.examples} examples of {len(fitted.question.criteria)} labels"
    )
    row("accuracy", f"{percent(share.value)}   (95 % interval {interval(share)}, n {share.n})")
    row("macro F1", percent(report.macro_f1))
    row("calibration error", f"{percent(calibration.expected_error)}   (0: probabilities mean what they say)")
    usual = fitted.operating_point(max_error=_SHOWN_ERROR)
    sure = f"{percent(usual.coverage.value)} from probability {usual.threshold:.2f}" if usual else "0 %"
    row("accepted at 5 % error", sure)
    if point is not None:
        accepted, wrong = percent(point.coverage.value), percent(point.error.value)
        row("threshold", f"{point.threshold:.3f}: {accepted} accepted, of which {wrong} wrong")
    for each in fitted.rivals:
        row(
            each.name,
            f"{percent(each.accuracy.value)}   ({fit_report.method} {percent(each.learned.value)} "
            f"on the same {each.accuracy.n}; p {each.paired.p_value:.2g})",
        )
    for reason, count in fitted.left_out.items():
        row("left out", f"{count} rows: {reason}")
    terminal.show(Text(f"fit: {report.model} on {report.data}, judged out of fold", style="bold"))
    terminal.show(table)
    if out is not None:
        terminal.show(f"→ {out}")
