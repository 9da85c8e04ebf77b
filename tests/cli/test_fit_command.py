"""The commands ``fit`` and ``decide``."""

import json
from pathlib import Path

import pytest
from command_line import CONTROL, objects, refused, run

pytestmark = pytest.mark.usefixtures("loaded", "home")

ROWS = [
    *((text, "lights") for text in ("关灯", "把客厅的灯打开", "turn the lamp off", "dim the lights", "灯太亮了，调暗")),
    *((text, "music") for text in ("放首歌", "来点爵士乐", "play some jazz", "next song please", "声音大一点，放摇滚")),
]


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    """Ten requests of two kinds."""
    file = tmp_path / "requests.jsonl"
    lines = [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in ROWS]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def test_figures_out_of_fold(requests: Path):
    """Accuracy with its interval, calibration, coverage, and rivals on the same rows; a table for people."""
    (found,) = objects(run("fit", requests, "--json"))
    assert (found["method"], found["examples"], found["n"]) == ("learned", 10, 10)
    assert found["interval"][0] <= found["accuracy"] <= found["interval"][1]
    assert 0 <= found["coverage_at_5_percent_error"] <= 1
    assert set(found["rivals"]) == {"scoring", "n-grams"}
    shown = run("fit", requests, "--no-compare").stdout
    for words in ("accuracy", "out of fold", "calibration error", "accepted at 5 % error"):
        assert words in shown
    assert "n-grams" not in shown


def test_a_lock_file_decides(requests: Path, tmp_path: Path):
    """By what was learned, above the threshold that was asked for; control tokens are plain text."""
    lock = tmp_path / "requests.lock.json"
    (found,) = objects(run("fit", requests, "--coverage", "0.5", "--no-compare", "--out", lock, "--json"))
    assert found["threshold"]["coverage"] >= 0.5
    first, second, third = objects(run("decide", "--lock", lock, "关掉灯", "play jazz", CONTROL, "--json"))
    assert (first["option"], second["option"]) == ("lights", "music")
    assert set(third["probabilities"]) == {"lights", "music"}
    for each in (first, second, third):
        sure = max(each["probabilities"].values()) >= found["threshold"]["probability"]
        assert (each["state"] == "accepted") is sure
    assert run("decide", "--lock", lock, "关掉灯").stdout.startswith("lights")


def test_texts_unlike_all_examples_are_out_of_scope(requests: Path, tmp_path: Path):
    """As many as are asked for: at 1, all but the most typical."""
    lock = tmp_path / "lock.json"
    run("fit", requests, "--no-compare", "--typicality", "1", "--out", lock)
    (found,) = objects(run("decide", "--lock", lock, "为什么天是蓝的？", "--json"))
    assert found["state"] == "out_of_scope"
    assert "(out of scope)" in run("decide", "--lock", lock, "为什么天是蓝的？").stdout


def test_built_in_questions_learn_from_a_file(tmp_path: Path):
    """Labels of moods may be spelt in several ways; those of routes are the routes' names."""
    moods = tmp_path / "moods.csv"
    moods.write_text("text,label\n很好,好评\ngreat,1\n太差,neg\nawful,0\n", encoding="utf-8")
    (found,) = objects(run("fit", moods, "--task", "sentiment", "--no-compare", "--json"))
    assert set(found["per_class"]) == {"positive", "negative"}
    routes = tmp_path / "routes.csv"
    routes.write_text("text,label\n订票,intent\nbook it,intent\n你好,chat\nwhy?,chat\n", encoding="utf-8")
    (found,) = objects(run("fit", routes, "--task", "route", "--no-compare", "--json"))
    assert found["n"] == 4


def test_files_that_cannot_be_learned_from(requests: Path, tmp_path: Path):
    """Each gets one line with its reason, and leaves no lock."""
    lock = tmp_path / "lock.json"
    bad = tmp_path / "bad.csv"
    bad.write_text("text,label\na,x\nb,x\nc,y\n", encoding="utf-8")
    assert refused(run("fit", bad, "--out", lock), "nothing can be learned")
    bad.write_text("text,label\na,x\nb,x\na,y\nc,y\n", encoding="utf-8")
    assert refused(run("fit", bad, "--out", lock), "'a' is an example of 'x' and of 'y'")
    assert refused(run("fit", tmp_path / "none.csv"), "none.csv")
    assert refused(run("fit", requests, "--max-error", "0.1", "--coverage", "0.5"), "give one of the two")
    bad.write_text("text,label\na,weather\nb,weather\nc,chat\nd,chat\n", encoding="utf-8")
    assert refused(run("fit", bad, "--task", "route"), "'weather'", "the options are: sentiment")
    assert not lock.exists()


def test_locks_that_cannot_be_used(requests: Path, tmp_path: Path):
    """Missing, broken, or made with another model."""
    lock = tmp_path / "lock.json"
    assert refused(run("decide", "--lock", lock, "x"), "cannot be read")
    run("fit", requests, "--no-compare", "--out", lock)
    content = json.loads(lock.read_text(encoding="utf-8"))
    lock.write_text(json.dumps(content | {"model_digest": "other"}), encoding="utf-8")
    assert refused(run("decide", "--lock", lock, "x"), "other weights")
    lock.write_text(lock.read_text(encoding="utf-8")[:200], encoding="utf-8")
    assert refused(run("decide", "--lock", lock, "x"), "is no lock, or is cut short")
    assert refused(run("decide", "--lock", lock), "give one of the two")
