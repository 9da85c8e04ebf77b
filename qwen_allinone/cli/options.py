"""Options of the commands, and the parts that those options open."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from qwen_allinone import settings
from qwen_allinone.cli import terminal
from qwen_allinone.errors import InputError

if TYPE_CHECKING:
    from qwen_allinone.assistant import Assistant
    from qwen_allinone.memory import KnowledgeBase, LongTermMemory
    from qwen_allinone.model import SharedQwen


class CheckedGroup(TyperGroup):
    """A group of commands each of whose options is given once and is not empty."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that is named, and check what is given to it.

        Raises:
            InputError: an option is given twice, or is empty.
        """
        name, command, rest = super().resolve_command(ctx, args)
        own = type(ctx)(command, info_name=name, parent=ctx)
        try:
            values, _, order = command.make_parser(own).parse_args(list(rest))  # type: ignore[union-attr]
        except Exception as error:
            if type(error).__name__ == "NoSuchOption":  # of click, which some versions of typer carry inside themselves
                error.message += "; a text that begins with - goes behind --"  # type: ignore[attr-defined]
            raise
        for option in order:
            if order.count(option) > 1 and option.param_type_name == "option":
                raise InputError(f"{option.opts[0]} is given {order.count(option)} times; give it once")
            if values[str(option.name)] == "" and option.param_type_name == "option":
                raise InputError(f"{option.opts[0]} is empty; give it a value, or leave it out")
        return name, command, rest


GROUP: dict[str, Any] = {"no_args_is_help": True, "rich_markup_mode": None, "add_completion": False}
"""How every group of commands is set up."""

AsJson = Annotated[bool, typer.Option("--json", help="输出一行 JSON。 · Print JSON, one line.")]
Model = Annotated[
    str | None,
    typer.Option(
        help="bundled、模型文件夹、hub 名称或服务器的 URL；默认取 QWEN_ALLINONE_MODEL，否则为下载过的或 bundled。 · "
        "bundled, a folder, a hub id or the URL of a server; by default QWEN_ALLINONE_MODEL, else a pulled one, else "
        "bundled.",
        show_default=False,
    ),
]
StoreModel = Annotated[
    str | None,
    typer.Option(
        help="各命令通用；这里用不到，查找靠嵌入模型 QWEN_ALLINONE_EMBEDDER。 · "
        "Same for all commands; unused here, where the embedder QWEN_ALLINONE_EMBEDDER finds things.",
        show_default=False,
    ),
]
Home = Annotated[
    Path | None,
    typer.Option(
        help="数据文件夹；默认取 QWEN_ALLINONE_HOME，否则为 ~/.qwen-allinone。 · "
        "Data folder; by default QWEN_ALLINONE_HOME, else ~/.qwen-allinone.",
        show_default=False,
    ),
]
Routes = Annotated[
    Path | None,
    typer.Option(
        help="另加此文件夹里的路由文件（*.yaml）。 · Add the route files (*.yaml) of this folder.", show_default=False
    ),
]
User = Annotated[str, typer.Option(help="谁的记忆。 · Whose memory.")]
MaybeUser = Annotated[
    str | None,
    typer.Option(help="谁的记忆；不写就不用记忆。 · Whose memory to use; none without it.", show_default=False),
]
TextOrDash = Annotated[
    str, typer.Argument(metavar="TEXT", help="文本；- 表示标准输入。 · The text; - is standard input.")
]
Correct = Annotated[
    str | None,
    typer.Option(
        metavar="ROUTE",
        help="纠正：这段文本属于这条路由，从此记住。 · A correction: the text belongs to this route, from now on.",
        show_default=False,
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="知识库的名字。 · Name of the knowledge base.")]


def open_qwen(model: str | None) -> "SharedQwen":
    """Load the model that was named, or the default one, and say so where that is a pulled one."""
    name = model or settings.model_name()
    if not model and not os.environ.get("QWEN_ALLINONE_MODEL") and name != "bundled":
        terminal.tell(f"{name} answers, the default since it was pulled; the small one: --model bundled")
    with terminal.waiting(f"{name} ..."):
        from qwen_allinone.model import SharedQwen

        return SharedQwen.load(name)


def open_assistant(
    model: str | None, *, home: Path | None = None, routes: Path | None = None, conversational: bool = False
) -> "Assistant":
    """Return the default assistant, with the route files of a folder added.

    Args:
        model: name of the model; None: the default one.
        home: folder of the memory; None: the environment's.
        routes: folder of route files.
        conversational: opinions get a reply instead of their mood alone.
    """
    from qwen_allinone.assistant import Assistant
    from qwen_allinone.router import builtin_routes, routes_in
    from qwen_allinone.tools import ChatTool

    added = [] if routes is None else routes_in(routes)
    builtin = {route.name for route in builtin_routes()}
    for route in added:
        if route.name in builtin:
            terminal.show_error(f"route {route.name!r} of {routes} replaces the built-in one", kind="note")
    qwen = open_qwen(model)
    runnables = {"sentiment": ChatTool(qwen=qwen)} if conversational else None
    return Assistant.default(qwen, routes=added, home=home, runnables=runnables)


def open_memory(home: Path | None) -> "LongTermMemory":
    """Open the long-term memory in the folder that was named, or the environment's."""
    with terminal.waiting("memory ..."):
        from qwen_allinone.memory import LongTermMemory, load_embedder

        return LongTermMemory(home or settings.home(), load_embedder(settings.embedder_name()))


def open_base(home: Path | None, name: str) -> "KnowledgeBase":
    """Open a knowledge base in the folder that was named, or the environment's."""
    with terminal.waiting("knowledge base ..."):
        from qwen_allinone.memory import KnowledgeBase, load_embedder

        return KnowledgeBase(home or settings.home(), name, load_embedder(settings.embedder_name()))
