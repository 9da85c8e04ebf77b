import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from qwen_allinone.cli import app
from qwen_allinone.cli.demo import FACT, QUESTION, SAMPLES, recall_across_processes
from qwen_allinone.errors import RunError
from qwen_allinone.model import SharedQwen
from qwen_allinone.model.prompt.language import language_of

ROUTES = {"sentiment", "chat", "intent", "summary"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that the demo must leave alone."""
    return tmp_path_factory.mktemp("demo") / "home"


@pytest.fixture(scope="module")
def shown(home: Path) -> Result:
    """One run of the demo."""
    SharedQwen.load("bundled")
    return CliRunner().invoke(app, ["demo", "--model", "bundled"], env={"QWEN_ALLINONE_HOME": str(home)})


@pytest.fixture(scope="module")
def as_json() -> dict:
    """The same as JSON."""
    result = CliRunner().invoke(app, ["demo", "--model", "bundled", "--json"])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_every_input_has_mood_route_answer_and_time(shown: Result):
    """Each sample is followed by face and probability, the route with its own, the time, and an answer."""
    assert shown.exit_code == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert len(SAMPLES) >= 8
    for text in SAMPLES:
        start = next(index for index, line in enumerate(lines) if line[:20] == text[:20])
        assert lines[start + 1].strip().startswith(("😄", "😟"))
        assert any(route in lines[start + 1] for route in ROUTES)
        assert " ms)" in lines[start + 1]
        assert lines[start + 2].strip()


def test_memory_lines(shown: Result):
    """The fact is remembered for the one user and not for the other, and nothing is kept."""
    remembered = [line for line in shown.stdout.splitlines() if "remembered:" in line]
    assert FACT in remembered[0]
    assert FACT not in remembered[1]
    assert shown.stdout.count(QUESTION) == 2


def test_accuracy_table(shown: Result, home: Path):
    """The tour ends with the accuracy on the shipped set, its interval and the baseline; no data folder was made."""
    table = shown.stdout.partition("How good")[2]
    assert all(word in table for word in ("accuracy", "95 % interval", "baseline", "462"))
    assert not home.exists()


def test_routes_of_both_languages(as_json: dict):
    """In Chinese and in English, all four routes are taken."""
    for language in ("zh", "en"):
        taken = {turn["route"] for turn in as_json["turns"] if language_of(turn["text"]) == language}
        assert taken == ROUTES


def test_processes(as_json: dict):
    """The three questions ran in three processes, and only the second recalled the fact."""
    memory = as_json["memory"]
    assert len({told["process"] for told in memory}) == 3
    assert [told["user"] for told in memory] == ["u1", "u1", "u2"]
    assert [FACT in told["recalled"] for told in memory] == [False, True, False]


def test_failed_process():
    """If a process of the demo fails, its own error line is passed on."""
    with pytest.raises(RunError, match="no model 'nope'"):
        next(recall_across_processes("nope"))
