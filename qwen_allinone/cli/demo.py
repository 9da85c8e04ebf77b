"""A tour of everything in about a minute, for somebody who has read nothing."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qwen_allinone.cli import terminal
from qwen_allinone.errors import RunError

if TYPE_CHECKING:
    from qwen_allinone.assistant import Assistant, Turn
    from qwen_allinone.eval import EvalRun

SAMPLES = (
    "等了一个多小时，菜端上来还是凉的，太失望了。",
    "这家小店的面很劲道，老板也热情，下次还来。",
    "今天有点无聊，陪我聊聊吧。",
    "帮我订一张明天去成都的高铁票。",
    "帮我概括一下：市图书馆下周一起延长开放时间，晚上十点闭馆。新馆三层增设了自习区，共有两百个座位。读者需要提前一天预约。",
    "The room was small, but spotless and very quiet.",
    "The screen cracked in a week and nobody answers my emails.",
    "Why do people yawn?",
    "Turn off the bedroom lights, please.",
    "The council met on Monday. It approved the new bus route. Work begins in March and costs two million.",
)
"""Two languages, and in each of them all four routes."""

FACT, QUESTION = "我住在上海", "我住在哪里？"
_WAIT = 300


@dataclass(frozen=True)
class Told:
    """Words and memories of one process of its own."""

    process: int
    """Its number in the operating system."""
    user: str
    text: str
    recalled: tuple[str, ...]
    answer: str


def take_samples(assistant: "Assistant") -> "Iterator[Turn]":
    """Answer the samples, one after the other."""
    return map(assistant.invoke, SAMPLES)


def recall_across_processes(model: str) -> Iterator[Told]:
    """One process remembers a fact of u1; two more ask for it, as u1 and as u2. The data folder is temporary.

    Raises:
        RunError: one of the processes failed.
    """
    with tempfile.TemporaryDirectory(prefix="qwen-allinone-") as home:
        for user, text in (("u1", FACT), ("u1", QUESTION), ("u2", QUESTION)):
            process, turn = _ask_in_own_process(text, user=user, model=model, home=home)
            yield Told(process, user, text, tuple(turn["recalled"]), _line(turn["output"]))


def show_demo(assistant: "Assistant", run: "EvalRun") -> None:
    """Show the whole tour as it goes.

    Args:
        assistant: answers the samples.
        run: the evaluation at the end.
    """
    from qwen_allinone.eval.tables import report_tables

    terminal.show(f"模型 · model: {assistant.qwen.name}", style="dim")
    _heading("一、每条输入：情绪、路由、回答 · 1. Each input: mood, route, answer")
    for turn in take_samples(assistant):
        _show_turn(turn)
    _heading("二、记忆：三个独立的进程，两位用户 · 2. Memory: three separate processes, two users")
    for told in recall_across_processes(assistant.qwen.name):
        _show_told(told)
    _heading("三、情绪判断有多准 · 3. How good the mood is")
    with terminal.progress_bar("sentiment") as progress:
        report = run.execute(progress=progress)
    terminal.show(report_tables(report))


def _show_turn(turn: "Turn") -> None:
    route = f"{terminal.words_for(turn.text)['route']} {turn.route} {turn.decision.probabilities[turn.route]:.2f}"
    terminal.show(f"\n{terminal.shortened(turn.text, 100)}", style="bold")
    terminal.show(f"  {turn.sentiment}   → {route}   ({turn.timings_ms['total']:.0f} ms)")
    terminal.show(f"  {terminal.answer_line(turn.text, turn.output)}")


def _show_told(told: Told) -> None:
    said = "说 · says" if told.text == FACT else "问 · asks"
    terminal.show(f"\n  进程 · process {told.process}   {told.user} {said}：{told.text}", style="bold")
    if told.text == QUESTION:
        terminal.show(f"    记得 · remembered: {'；'.join(told.recalled) or '（没有 · nothing）'}")
    terminal.show(f"    {told.answer}")


def _heading(text: str) -> None:
    terminal.show(f"\n{text}\n{'─' * 40}", style="bold cyan")


def _ask_in_own_process(text: str, *, user: str, model: str, home: str) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "qwen_allinone", "ask", text, "--user", user, "--model", model, "--json"]
    environment = os.environ | {"QWEN_ALLINONE_HOME": home}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            out, problems = process.communicate(timeout=_WAIT)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise RunError(f"a process of the demo took longer than {_WAIT} s; try again") from error
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        last = problems.decode("utf-8", errors="replace").strip().rpartition("\n")[2]
        raise RunError(f"a process of the demo failed with exit code {process.returncode}: {last}")
    return process.pid, json.loads(out)


def _line(output: Any) -> str:
    """Return the answer of a turn, from its JSON."""
    if not isinstance(output, dict):
        return str(output or "（没有回答 · no answer）")
    return f"{output['label']} {output['probability']:.2f}" if "label" in output else str(output.get("text", output))
