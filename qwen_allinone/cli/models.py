"""The commands on models: ``pull`` and ``models``."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from qwen_allinone import hub_cache, settings
from qwen_allinone.cli import terminal
from qwen_allinone.cli.options import AsJson
from qwen_allinone.errors import InputError

if TYPE_CHECKING:
    from qwen_allinone.hub_cache import ModelFiles

_DEFAULT_WORDS = "默认 default"


def pull(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="hub 上的名称；不写就是 Qwen/Qwen2.5-0.5B-Instruct。 · Name on the hub; Qwen/Qwen2.5-0.5B-Instruct "
            "without it.",
            show_default=False,
        ),
    ] = None,
    *,
    revision: Annotated[
        str | None,
        typer.Option(
            help="分支、标签或提交；默认 main。 · Branch, tag or commit; main by default.", show_default=False
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="与 NAME 相同，写一个即可。 · The same as NAME; give one of the two.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """下载一个真正的 Qwen，之后不联网也能用。 · Download a real Qwen; from then on it works offline."""
    from qwen_allinone.model.weights import hub

    if name is not None and model is not None:
        raise InputError("pull takes NAME or --model, not both")
    wanted = name or model or hub.DEFAULT_MODEL
    try:
        with terminal.progress_bar(wanted, unit="bytes") as progress:
            pulled = hub.pull(wanted, revision=revision, progress=progress)
    except KeyboardInterrupt:
        terminal.tell("stopped; files that are whole are kept, and the same command gets the rest")
        raise
    default = settings.model_name()
    if as_json:
        terminal.show_json(_fields(pulled, default=default))
        return
    terminal.show(f"已下载 pulled: {_facts(pulled)}")
    terminal.show(f"文件夹 folder: {pulled.folder}")
    if default == pulled.name:
        terminal.show("用法 use it: qwen-allinone chat · 它现在是默认模型 it is the default now")
    else:
        terminal.show(f"用法 use it: qwen-allinone chat --model {pulled.name} · {_DEFAULT_WORDS}: {default}")


def models(
    *,
    model: Annotated[
        str | None,
        typer.Option(
            help="当作默认模型来标记。 · Mark this one, as if it were the default.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """列出这台机器上的模型，以及哪个是默认。 · List the models on this machine, and which is the default."""
    from rich.table import Table

    from qwen_allinone.model.weights.loading import BUNDLED, bundled_folder

    default = model or settings.model_name()
    found = [hub_cache.ModelFiles.from_folder(bundled_folder(), name=BUNDLED), *hub_cache.cached_models()]
    if as_json:
        terminal.show_json({"default": default, "models": [_fields(each, default=default) for each in found]})
        return
    table = Table("模型 model", show_edge=False, pad_edge=False, box=None)
    table.add_column("参数 parameters", justify="right")
    table.add_column("大小 size", justify="right")
    table.add_column("")
    for each in found:
        mark = _DEFAULT_WORDS if each.name == default else ""
        table.add_row(each.name, f"{each.parameters:,}", f"{each.bytes / 1e6:,.1f} MB", mark)
    terminal.show(table)
    if default not in {each.name for each in found}:
        terminal.show(f"{_DEFAULT_WORDS}: {default}")


def _fields(model: "ModelFiles", *, default: str) -> dict[str, Any]:
    return {
        "name": model.name,
        "folder": str(model.folder),
        "parameters": model.parameters,
        "bytes": model.bytes,
        "chat": model.is_chat,
        "default": model.name == default,
    }


def _facts(model: "ModelFiles") -> str:
    return f"{model.name} · {model.parameters:,} 参数 parameters · {model.bytes / 1e6:,.1f} MB"
