"""The command line: ``qwen-allinone``."""

import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qwen_allinone import __version__, settings
from qwen_allinone.cli import terminal
from qwen_allinone.cli.fit import decide, fit
from qwen_allinone.cli.models import models, pull
from qwen_allinone.cli.options import (
    GROUP,
    AsJson,
    CheckedGroup,
    Correct,
    Home,
    MaybeUser,
    Model,
    Routes,
    TextOrDash,
    open_assistant,
)
from qwen_allinone.cli.stores import kb_app, memory_app
from qwen_allinone.errors import InputError, QwenAllInOneError, RunError

if TYPE_CHECKING:
    from qwen_allinone.assistant import Assistant, Turn
    from qwen_allinone.eval import EvalRun, LabelledSet


class Commands(CheckedGroup):
    """Turns this package's errors, Ctrl-C and a closed pipe into one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except QwenAllInOneError as error:
            terminal.show_error(error)
            raise typer.Exit(2 if isinstance(error, InputError) else 1) from error
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except BrokenPipeError:
            # What is left in the buffer must not be written again when Python ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            terminal.show_error(RunError(f"the output cannot be written: {error.strerror or error}"))
            raise typer.Exit(1) from error
        return result


class Task(StrEnum):
    """Decisions that can be evaluated."""

    SENTIMENT = "sentiment"
    ROUTE = "route"


app = typer.Typer(
    cls=Commands,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="一个小模型办所有事：情绪、路由、回答、记忆、知识库、评测。 · "
    "One small model does it all: mood, route, answer, memory, knowledge bases, evaluation.",
    **GROUP,
)
app.add_typer(memory_app, name="memory")
app.add_typer(kb_app, name="kb")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 fine, 1 the run failed, 2 the input cannot work, 130 stopped by Ctrl-C.

    Args:
        arguments: by default those of the process.
    """
    terminal.prepare()
    app(None if arguments is None else list(arguments), prog_name="qwen-allinone")


def _show_version(wanted: bool) -> None:
    if wanted:
        terminal.show(__version__)
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="显示版本。 · Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command()
def ask(
    text: TextOrDash,
    *,
    user: MaybeUser = None,
    routes: Routes = None,
    correct: Correct = None,
    show_prompt: Annotated[
        bool, typer.Option("--show-prompt", help="显示文本之外告诉模型的话。 · Show what the model is told besides.")
    ] = False,
    home: Home = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """问一句：情绪、路由、回答。 · Ask: mood, route and answer."""
    given = terminal.read_text(text)
    assistant = open_assistant(model, home=home, routes=routes)
    if correct is not None:
        assistant.router.learn(terminal.require_text(given), correct)
    if as_json:
        terminal.show_json(assistant.invoke(given, user=user).to_json())
        return
    pieces = assistant.stream(given, user=user)
    turn = next(pieces)
    terminal.show_opening(turn)
    for piece in pieces:
        terminal.show_piece(piece)
        turn += piece
    terminal.show_answer(turn)
    terminal.show_rest(turn, prompt=show_prompt)


@app.command()
def route(
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT", help="文本；- 表示标准输入。 · Texts; - is standard input."),
    ] = None,
    *,
    file: Annotated[
        str | None,
        typer.Option(
            metavar="LINES.txt", help="每行一条的文本文件；- 表示标准输入。 · A text per line; - is standard input."
        ),
    ] = None,
    routes: Routes = None,
    correct: Correct = None,
    home: Home = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """只选路由，不执行。 · Only pick the route, for one text or many."""
    if bool(texts) == (file is not None):
        raise InputError("route needs either texts or --file; give one of the two")
    given = [terminal.read_text(text) for text in texts or ()] if file is None else terminal.read_lines(file)
    name_of_model = model or settings.model_name()
    router = open_assistant(model, home=home, routes=routes).router
    if correct is not None:
        for number, text in enumerate(given, start=1):  # all of them are looked at before any is learned
            terminal.require_text(text, f"line {number}")
        for text in given:
            router.learn(text, correct)
    failed = False
    for number, text in enumerate(given, start=1):
        try:
            decision = router.decide(terminal.require_text(text))
        except InputError as error:
            failed |= not as_json
            terminal.show_json({"error": str(error)}) if as_json else terminal.show_error(f"line {number}: {error}")
            continue
        name = router.select(decision)
        if as_json:
            picked = {"text": text, "route": name, "probabilities": {**decision.probabilities}}
            terminal.show_json(picked | {"margin": decision.margin, "state": decision.state, "model": name_of_model})
        else:
            terminal.show(f"{name:9} {decision.probabilities[name]:.2f}  {terminal.shortened(text)}")
    if failed:
        raise typer.Exit(2)


@app.command()
def chat(*, user: MaybeUser = None, home: Home = None, model: Model = None, as_json: AsJson = False) -> None:
    """连续聊天；/quit 离开，Ctrl-C 打断回答。 · Talk; /quit leaves, Ctrl-C stops a reply. A pipe works as well."""
    from qwen_allinone.model import Message

    assistant = open_assistant(model, home=home, conversational=True)
    history: list[Message] = []
    failed = 0
    for line in terminal.arriving_lines("你 · you> "):
        if line.strip() == b"/quit":
            break
        try:
            given = {"text": terminal.decoded_line(line), "user": user, "history": history}
            turn = _talk(assistant, given, as_json=as_json)
            if turn.output is not None:
                history += (Message("user", turn.text), Message("assistant", str(turn.output)))
        except QwenAllInOneError as error:
            failed = 1 if isinstance(error, RunError) else failed or (0 if as_json else 2)
            terminal.show_json({"error": str(error)}) if as_json else terminal.show_error(error)
    if failed and not sys.stdin.isatty():
        raise typer.Exit(failed)


@app.command("eval")
def evaluate(
    task: Annotated[Task, typer.Argument(help="评测什么。 · What to measure.")],
    *,
    data: Annotated[
        Path | None,
        typer.Option(
            help="自己的 CSV、TSV 或 JSONL；默认用自带数据。 · Your CSV, TSV or JSONL; by default the shipped set.",
            show_default=False,
        ),
    ] = None,
    text_column: Annotated[str, typer.Option(help="文本列。 · Column of the text.")] = "text",
    label_column: Annotated[str, typer.Option(help="标签列。 · Column of the label.")] = "label",
    out: Annotated[
        Path | None,
        typer.Option(
            help="写入 samples.jsonl 和 summary.json 的文件夹。 · Folder for samples.jsonl and summary.json.",
            show_default=False,
        ),
    ] = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """测准确率，连同区间和基线。 · Measure accuracy, with its interval and baseline."""
    from qwen_allinone.eval import LABEL_MAPS, LabelledSet
    from qwen_allinone.eval.report import RESULT_FILES
    from qwen_allinone.eval.result_folder import require_writable
    from qwen_allinone.eval.tables import report_tables

    name = "routes" if task is Task.ROUTE else "sentiment"
    if data is None:
        rows = LabelledSet.builtin(name)
    else:
        rows = LabelledSet.from_file(data, text_column, label_column=label_column, label_map=LABEL_MAPS[name])
    if out is not None:
        require_writable(out, RESULT_FILES)
    run = _eval_run(open_assistant(model), task, rows)
    with terminal.progress_bar(task) as progress:
        report = run.execute(progress=progress)
    terminal.show_json(report.to_json()) if as_json else terminal.show(report_tables(report))
    if out is not None:
        report.save(out)  # last, so that a disk that is full by now costs the files and not the figures


@app.command()
def demo(*, model: Model = None, as_json: AsJson = False) -> None:
    """一分钟演示：十条输入、跨进程的记忆、准确率。 · One minute: ten inputs, memory across processes, accuracy."""
    from qwen_allinone.cli.demo import recall_across_processes, show_demo, take_samples
    from qwen_allinone.eval import LabelledSet

    assistant = open_assistant(model)
    run = _eval_run(assistant, Task.SENTIMENT, LabelledSet.builtin("sentiment"))
    if not as_json:
        show_demo(assistant, run)
        return
    turns, recalled, report = take_samples(assistant), recall_across_processes(assistant.qwen.name), run.execute()
    terminal.show_json(
        {
            "turns": [{"text": turn.text, **turn.to_json()} for turn in turns],
            "memory": [vars(each) for each in recalled],
            "sentiment": report.to_json(),
        }
    )


@app.command()
def doctor(
    *,
    check: Annotated[
        bool,
        typer.Option("--check", help="载入模型逐项检查，输出一个 JSON。 · Load the model, check all, print one JSON."),
    ] = False,
    rows: Annotated[
        int | None,
        typer.Option(
            min=1, help="--check 每套数据取多少条，默认全部。 · Rows of each set for --check; all by default."
        ),
    ] = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """看看装了什么、缺什么；有缺则退出码为 1。 · What is installed, what is missing (then the exit code is 1)."""
    name = model or settings.model_name()
    if check:
        from qwen_allinone.cli.doctor import check_model

        with terminal.progress_bar(name) as progress:
            checked = check_model(name, rows=rows, progress=lambda _, done, total: progress(done, total))
        terminal.show_json(checked)
        return
    from qwen_allinone.cli.environment import Environment

    found = Environment.from_model_name(name)
    terminal.show_json(found.to_json()) if as_json else terminal.show("\n".join(found.lines))
    if not found.ready:
        raise typer.Exit(1)


app.command()(fit)
app.command()(decide)
app.command()(pull)
app.command()(models)


def _talk(assistant: "Assistant", given: dict[str, Any], *, as_json: bool) -> "Turn":
    """Answer one line of a chat; Ctrl-C stops the answer and no more."""
    if as_json:
        turn = assistant.invoke(given)
        terminal.show_json(turn.to_json())
        return turn
    pieces = assistant.stream(given)
    turn = next(pieces)
    terminal.show(str(turn.sentiment), style="bold")
    try:
        for piece in pieces:
            terminal.show_piece(piece)
            turn += piece
        terminal.show_answer(turn)
    except KeyboardInterrupt:
        terminal.show(" …")
        if given["user"] is not None:
            turn = assistant.remember(turn, given["user"])
    terminal.show_rest(turn)
    return turn


def _eval_run(assistant: "Assistant", task: Task, rows: "LabelledSet") -> "EvalRun":
    from qwen_allinone.eval import EvalRun
    from qwen_allinone.tools import SentimentTool

    decide_all = (
        SentimentTool(qwen=assistant.qwen).polarities if task is Task.SENTIMENT else assistant.router.decide_all
    )
    return EvalRun(task.value, rows, decide_all=decide_all, model=assistant.qwen.name)
