"""The command line: ``qwen-allinone``."""

import os
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from qwen_allinone import __version__, settings, terminal
from qwen_allinone.errors import InputError, QwenAllInOneError

if TYPE_CHECKING:
    from qwen_allinone.assistant import Assistant
    from qwen_allinone.conversation import Conversation
    from qwen_allinone.eval import EvalRun, LabelledSet
    from qwen_allinone.memory import KnowledgeBase, LongTermMemory
    from qwen_allinone.model import SharedQwen


class Commands(TyperGroup):
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
        return result


class Task(StrEnum):
    """What can be evaluated."""

    SENTIMENT = "sentiment"
    ROUTE = "route"


_STYLE: dict[str, Any] = {"no_args_is_help": True, "rich_markup_mode": None, "add_completion": False}
app = typer.Typer(
    cls=Commands,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="一个小模型办所有事：情绪、路由、回答、记忆、知识库、评测。 · One small model does it all: mood, route, answer, "
    "memory, knowledge bases, evaluation.",
    **_STYLE,
)
memory_app = typer.Typer(help="长期记忆，各用户互不可见。 · Long-term memory, each user's own.", **_STYLE)
kb_app = typer.Typer(help="知识库：加文件，提问，列出。 · Knowledge bases: add files, ask, list.", **_STYLE)
app.add_typer(memory_app, name="memory")
app.add_typer(kb_app, name="kb")

def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 fine, 1 the run failed, 2 the input cannot work, 130 stopped by Ctrl-C.

    Args:
        arguments: by default those of the process.
    """
    terminal.prepare()
    app(None if arguments is None else list(arguments), prog_name="qwen-allinone")


@app.callback()
def _version(
    version: Annotated[bool, typer.Option("--version", help="显示版本。 · Show the version.", is_eager=True)] = False,
) -> None:
    if version:
        terminal.show(__version__)
        raise typer.Exit


@app.command()
def ask(
    text: TextOrDash,
    *,
    user: MaybeUser = None,
    routes: Routes = None,
    show_prompt: Annotated[
        bool, typer.Option("--show-prompt", help="显示文本之外告诉模型的话。 · Show what the model is told besides.")
    ] = False,
    home: Home = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """问一句：情绪、路由、回答。 · Ask: mood, route and answer."""
    given = terminal.read_text(text)
    assistant = _assistant(model, home=home, routes=routes)
    if as_json:
        terminal.show_json(assistant.invoke(given, user=user).to_json())
        return
    turn = assistant.begin(given, user=user)
    terminal.show_opening(turn)
    terminal.show_answer(turn)
    terminal.show_rest(assistant.finish(turn), prompt=show_prompt)


@app.command()
def route(
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT]...", help="文本；- 表示标准输入。 · Texts; - is standard input.")
    ] = None,
    *,
    file: Annotated[
        str | None,
        typer.Option(metavar="LINES.txt", help="每行一条的文本文件；- 表示标准输入。 · A text per line; - is standard input."),
    ] = None,
    routes: Routes = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """只选路由，不执行。 · Only pick the route, for one text or many."""
    if bool(texts) == (file is not None):
        raise InputError("route needs either texts or --file; give one of the two")
    given = [terminal.read_text(text) for text in texts or ()] if file is None else terminal.read_lines(file)
    router = _assistant(model, routes=routes).router
    failed = False
    for number, text in enumerate(given, start=1):
        try:
            decision = router.decide(terminal.checked(text))
        except InputError as error:
            failed |= not as_json
            terminal.show_json({"error": str(error)}) if as_json else terminal.show_error(f"line {number}: {error}")
            continue
        if as_json:
            chosen = {"text": text, "route": router.chosen(decision).name, "probabilities": {**decision.probabilities}}
            terminal.show_json(chosen | {"margin": decision.margin, "model": model or settings.model_name()})
        else:
            name = router.chosen(decision).name
            terminal.show(f"{name:9} {decision.probabilities[name]:.2f}  {terminal.shortened(text)}")
    if failed:
        raise typer.Exit(2)


@app.command()
def chat(*, user: MaybeUser = None, home: Home = None, model: Model = None, as_json: AsJson = False) -> None:
    """连续聊天；/quit 离开，Ctrl-C 打断回答。 · Talk; /quit leaves, Ctrl-C stops a reply. A pipe works as well."""
    from qwen_allinone.conversation import Conversation

    conversation = Conversation(_assistant(model, home=home), user=user)
    failed = False
    for line in terminal.arriving_lines("你 · you> "):
        if line.strip() == b"/quit":
            break
        try:
            _take_turn(conversation, terminal.decoded_line(line), as_json=as_json)
        except QwenAllInOneError as error:
            failed |= not as_json
            terminal.show_json({"error": str(error)}) if as_json else terminal.show_error(error)
    if failed and not sys.stdin.isatty():
        raise typer.Exit(2)


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

    name = "routes" if task is Task.ROUTE else "sentiment"
    if data is None:
        rows = LabelledSet.shipped(name)
    else:
        rows = LabelledSet.of_file(data, text_column, label_column=label_column, label_map=LABEL_MAPS[name])
    run = _eval_run(task, rows, _assistant(model))
    with terminal.progress_bar(task) as progress:
        report = run.execute(out, progress=progress)
    terminal.show_json(report.to_json()) if as_json else terminal.show(report.render())


