"""The commands on what is kept: ``memory`` and ``kb``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qwen_allinone import settings
from qwen_allinone.cli import terminal
from qwen_allinone.cli.options import (
    GROUP,
    AsJson,
    CheckedGroup,
    Home,
    Model,
    Name,
    StoreModel,
    TextOrDash,
    User,
    open_base,
    open_memory,
    open_qwen,
)

if TYPE_CHECKING:
    from qwen_allinone.memory.knowledge_base import Source

memory_app = typer.Typer(
    cls=CheckedGroup, help="长期记忆，各用户互不可见。 · Long-term memory, each user's own.", **GROUP
)
kb_app = typer.Typer(
    cls=CheckedGroup, help="知识库：加文件，提问，列出。 · Knowledge bases: add files, ask, list.", **GROUP
)


@memory_app.command("add")
def memory_add(
    text: TextOrDash,
    *,
    user: User,
    home: Home = None,
    model: StoreModel = None,  # noqa: ARG001
    as_json: AsJson = False,
) -> None:
    """记住一句话。 · Remember a text."""
    memory = open_memory(home).add(user, terminal.read_text(text))
    if as_json:
        terminal.show_json({"user": user, "id": memory.id, "text": memory.text, "created": memory.created})
    else:
        terminal.show(f"已记住 · remembered: {memory.text}")


@memory_app.command("search")
def memory_search(
    text: TextOrDash,
    *,
    user: User,
    k: Annotated[int, typer.Option("-k", min=1, help="最多几条。 · At most how many.")] = 4,
    home: Home = None,
    model: StoreModel = None,  # noqa: ARG001
    as_json: AsJson = False,
) -> None:
    """按意思找这位用户说过的话。 · Find by meaning what this user told."""
    found = open_memory(home).search(user, terminal.read_text(text), k)
    if as_json:
        terminal.show_json({"user": user, "memories": [vars(each) for each in found]})
    for each in () if as_json else found:
        terminal.show(f"{each.similarity:.2f}  {each.text}")
    if not as_json and not found:
        terminal.show("没有找到 · nothing found")


@memory_app.command("list")
def memory_list(
    *,
    user: User,
    home: Home = None,
    model: StoreModel = None,  # noqa: ARG001
    as_json: AsJson = False,
) -> None:
    """列出这位用户说过的话，旧的在前。 · List what this user told, oldest first."""
    memories = open_memory(home).list(user)
    if as_json:
        terminal.show_json({"user": user, "memories": [vars(each) for each in memories]})
    for each in () if as_json else memories:
        terminal.show(f"{terminal.local_time(each.created)}  {each.text}")
    if not as_json and not memories:
        terminal.show("还没有记忆 · no memories yet")


@memory_app.command("forget")
def memory_forget(
    *,
    user: User,
    id: Annotated[
        str | None, typer.Option("--id", help="只忘这一条（list --json 给出编号）。 · Only this one, by its id.")
    ] = None,
    home: Home = None,
    model: StoreModel = None,  # noqa: ARG001
    as_json: AsJson = False,
) -> None:
    """忘掉这位用户说过的全部或一条，文件里也不留。 · Forget all or one, from the files too."""
    memory = open_memory(home)
    forgotten = memory.forget(user) if id is None else memory.delete(user, id)
    _show_removed(forgotten, {"user": user, "id": id}, as_json=as_json)


@kb_app.command("add")
def kb_add(
    name: Name,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="文件或文件夹（.txt .md）。 · Files or folders.")],
    *,
    home: Home = None,
    model: StoreModel = None,  # noqa: ARG001
    as_json: AsJson = False,
) -> None:
    """把文件加进知识库，没有就新建。 · Add files to a knowledge base; it is made if missing."""
    from qwen_allinone.memory.passages import source_files

    for path in paths:
        source_files(path)  # nothing is written unless all of them can be read
    base = open_base(home, name)
    _show_sources(name, [source for path in paths for source in base.add(path)], as_json=as_json)


@kb_app.command("ask")
def kb_ask(
    name: Name,
    question: Annotated[
        str, typer.Argument(metavar="QUESTION", help="问题；- 表示标准输入。 · The question; - is stdin.")
    ],
    *,
    min_similarity: Annotated[
        float | None,
        typer.Option(
            min=-1,
            max=1,
            help="相似度低于它的段落不用。 · Passages less similar are left out.",
            show_default=False,
        ),
    ] = None,
    home: Home = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """只按知识库回答，并给出来源。 · Answer from the knowledge base only, with sources."""
    text = terminal.read_text(question)
    base, qwen = open_base(home, name), open_qwen(model)
    from qwen_allinone.tools import KnowledgeTool

    answer = KnowledgeTool(qwen=qwen, retriever=base.as_retriever(min_similarity=min_similarity)).invoke({"text": text})
    if as_json:
        terminal.show_json({"name": name, "question": text, **answer.model_dump(), "model": qwen.name})
        return
    terminal.show(answer.text)
    if not answer.found:
        terminal.show("可用 --min-similarity 放宽 · --min-similarity widens the search", style="dim")
    for source in answer.sources:
        terminal.show(f"  · {source}", style="dim")


@kb_app.command("remove")
def kb_remove(
    name: Name,
    path: Annotated[Path | None, typer.Argument(metavar="PATH", help="只去掉这个文件。 · Only this file.")] = None,
    *,
    home: Home = None,
    model: StoreModel = None,  # noqa: ARG001
    as_json: AsJson = False,
) -> None:
    """删掉知识库或其中一个文件。 · Remove a knowledge base, or one file of it."""
    base = open_base(home, name)
    removed = True
    if path is None:
        base.drop()
    else:
        removed = base.remove(path)
    _show_removed(removed, {"name": name, "path": None if path is None else str(path)}, as_json=as_json)


@kb_app.command("list")
def kb_list(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="列出它的文件。 · List its files.")] = None,
    *,
    home: Home = None,
    model: StoreModel = None,  # noqa: ARG001
    as_json: AsJson = False,
) -> None:
    """列出所有知识库，或其中一个的文件。 · List all knowledge bases, or the files of one."""
    if name is not None:
        _show_sources(name, open_base(home, name).list(), as_json=as_json)
        return
    from qwen_allinone.memory import KnowledgeBase

    names = KnowledgeBase.names(home or settings.home())
    if as_json:
        terminal.show_json({"names": names})
    else:
        terminal.show("\n".join(names) or "还没有知识库 · no knowledge bases yet")


def _show_removed(removed: bool, what: dict[str, str | None], *, as_json: bool) -> None:
    if as_json:
        terminal.show_json({**what, "removed": removed})
    else:
        terminal.show("已删除 · removed" if removed else "没有可删的 · there was nothing to remove")


def _show_sources(name: str, sources: "Sequence[Source]", *, as_json: bool) -> None:
    if as_json:
        terminal.show_json({"name": name, "sources": [vars(source) for source in sources]})
        return
    for source in sources:
        terminal.show(f"{source.passages:5} 段 · passages  {source.source}")
