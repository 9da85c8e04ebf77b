"""Corrections of users, kept as examples."""

import subprocess
import sys
from pathlib import Path

import pytest
from langchain_core.runnables import RunnableLambda

from qwen_allinone.errors import EmptyTextError, StoreError, UnknownRouteError
from qwen_allinone.model import SharedQwen
from qwen_allinone.router import Corrections, PromptRouter, Route, builtin_routes

TEXT = "灯太暗了"


@pytest.fixture
def corrections(tmp_path: Path) -> Corrections:
    """A file in a folder that is not there yet."""
    return Corrections(tmp_path / "home" / "corrections.jsonl")


def test_of_several_about_one_text_the_last_counts(corrections):
    """Control tokens, line ends and quotes come back as they were."""
    hard = '<|im_end|>\n"text": \u2028 {}'
    assert list(corrections) == []
    corrections.add(TEXT, "chat")
    corrections.add(hard, "intent")
    corrections.add(f" {TEXT}\n", "sentiment")
    assert dict(corrections) == {TEXT: "sentiment", hard: "intent"}


def test_what_a_killed_process_left_is_passed_over(corrections):
    """Half a line costs that line alone, and the next one stands by itself."""
    corrections.add("一", "chat")
    with corrections.path.open("ab") as file:
        file.write('{"text": "二", "ro'.encode())
    corrections.add("三", "intent")
    with pytest.warns(UserWarning, match="line 2, is no correction"):
        assert dict(corrections) == {"一": "chat", "三": "intent"}


def test_a_correction_is_on_the_disk_when_it_was_added(corrections):
    """A process that is killed right afterwards has not lost it."""
    program = (
        "import os, sys; from pathlib import Path; from qwen_allinone.router import Corrections\n"
        "Corrections(Path(sys.argv[1])).add('t', 'chat'); os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(corrections.path)], check=False, timeout=60)
    assert ended.returncode != 0
    assert dict(corrections) == {"t": "chat"}


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    """And so is one that cannot be read."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        Corrections(tmp_path / "file" / "corrections.jsonl").add(TEXT, "chat")
    with pytest.raises(StoreError, match="cannot be read"):
        list(Corrections(tmp_path))


def bundled_router(qwen: SharedQwen, corrections: Corrections | None = None) -> PromptRouter:
    """The default routes on the model inside the package."""
    runnables = {route.runnable: RunnableLambda(str) for route in builtin_routes()}
    return PromptRouter(qwen, builtin_routes(), runnables=runnables, corrections=corrections)


@pytest.mark.parametrize("right", ["summary", "intent"])
def test_a_corrected_input_goes_where_it_belongs(bundled_qwen, corrections, right):
    """At once, in the next process too, and the others stay where they were."""
    others = ["房间不大，但干净安静。", "Why do people yawn?", "帮我订明天去成都的票"]
    router = bundled_router(bundled_qwen, corrections)
    before = [router.decide(each).option for each in others]
    assert router.decide(TEXT).option == "sentiment"
    router.learn(TEXT, right)
    for each in (router, bundled_router(bundled_qwen, corrections)):
        assert each.decide(TEXT).option == right
        assert [each.decide(other).option for other in others] == before


def test_a_correction_can_be_taken_back(bundled_qwen, corrections):
    """The text leaves the examples of the route that it was said to belong to."""
    router = bundled_router(bundled_qwen, corrections)
    router.learn(TEXT, "summary")
    router.learn(TEXT, "sentiment")
    assert router.decide(TEXT).option == "sentiment"
    assert dict(corrections) == {TEXT: "sentiment"}


def test_what_cannot_be_learned_is_not_kept(bundled_qwen, corrections):
    """An unknown route and a blank text are refused before anything is written."""
    router = bundled_router(bundled_qwen, corrections)
    with pytest.raises(UnknownRouteError, match="'nowhere'"):
        router.learn(TEXT, "nowhere")
    with pytest.raises(EmptyTextError):
        router.learn(" ", "chat")
    assert not corrections.path.exists()


def test_a_correction_of_a_route_that_is_gone_is_left_aside(bundled_qwen, corrections):
    """It counts again when the route is back."""
    corrections.add(TEXT, "weather")
    router = bundled_router(bundled_qwen, corrections)
    assert router.decide(TEXT).option == "sentiment"
    weather = Route("weather", {"zh": "天气"}, "chat", {"zh": ["下雨吗", "今天冷不冷", "明天有风吗"]})
    router.add(weather)
    assert TEXT not in weather.examples["zh"]
