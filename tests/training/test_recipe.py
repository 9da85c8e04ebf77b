"""One command makes a model that the toolkit loads."""

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from qwen_allinone.model.loading import bundled_folder

from qwen_allinone.model import Choice, SharedQwen
from training import circuit
from training.__main__ import _in_training
from training.phases import PHASES
from training.sizes import SIZES, Size

ROOT = Path(__file__).parents[2]


def _run(*options: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "training", "--size", "tiny", "--tokens", "4000", "--threads", "1"]
    return subprocess.run([*command, *map(str, options)], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_writes_a_model_that_loads_and_decides(tmp_path: Path) -> None:
    """Tokenizer, weights and capabilities come out in the form in which they ship, log and curves beside them."""
    run, out = tmp_path / "run", tmp_path / "out"
    ran = _run("--run", run, "--out", out)
    assert ran.returncode == 0, ran.stderr
    qwen = SharedQwen.load(str(out))
    assert type(qwen.tokenizer).__name__.startswith("Qwen2Tokenizer")
    assert qwen.capabilities.summary == "leading"
    decision = qwen.decide("还行", {"mood": Choice(instructions="情绪？", criteria={"正面": None, "负面": None})})[
        "mood"
    ]
    assert abs(sum(decision.probabilities.values()) - 1) < 1e-9
    weights = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert weights["model_type"] == "qwen2"
    assert not list(tmp_path.rglob("*.bin"))
    assert any("accuracy" in json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines())
    assert {path.stem for path in run.glob("*.safetensors")} == {*PHASES, "model"}
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    again = _run("--run", run, "--out", out)
    assert again.returncode == 2
    assert "--resume" in again.stderr


def test_a_training_that_is_resumed_goes_on_where_it_was(tmp_path: Path) -> None:
    """At its end nothing is left to train, and the same model is written; with other settings nothing is."""
    run, out = tmp_path / "run", tmp_path / "out"
    assert _run("--run", run, "--out", out).returncode == 0
    trained, steps = (out / "model.safetensors").read_bytes(), _losses(run)
    shutil.rmtree(out)
    other = _run("--run", run, "--out", out, "--resume", "--seed", "1")
    assert other.returncode == 2
    assert "begun with seed 0, not 1" in _plain(other.stderr)
    assert not out.exists()
    resumed = _run("--run", run, "--out", out, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert (out / "model.safetensors").read_bytes() == trained
    assert _losses(run) == steps


def _losses(run: Path) -> int:
    """How often the training told of its loss."""
    return sum("loss" in json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines())


def _plain(told: str) -> str:
    """Without the frame and the line breaks of the terminal."""
    return " ".join(told.replace("│", " ").split())


def test_a_model_that_has_grown_declares_after_which_layers_it_decides(fresh: SharedQwen) -> None:
    """Those it had before; a model that has not grown decides with all."""
    model = copy.deepcopy(fresh.model)
    assert _in_training(model, fresh.tokenizer).capabilities.decision_layers is None
    layers = len(model.model.layers)
    circuit.grow(model)
    assert _in_training(model, fresh.tokenizer).capabilities.decision_layers == layers < len(model.model.layers)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_every_size_could_ship(size: Size) -> None:
    """None has more weights than fit into 25 MB at two bytes each."""
    layer = 4 * size.width**2 + 3 * size.width * size.inner
    assert 2 * (2 * size.vocabulary * size.width + (size.layers + 2) * layer) < 24_900_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "huge"], "there is no size"),
        (["--resume"], "no training"),
        (["--start", "docs"], "lacks model.safetensors"),
        (["--data", "nowhere"], "does not exist"),
        (["--first", "replies"], "name them by --start"),
        (["--first", "chatting"], "both"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_written(
    options: list[str], message: str, tmp_path: Path
) -> None:
    """One clear line, exit code 2, and no folder."""
    ran = _run("--run", tmp_path / "run", "--out", tmp_path / "out", *options)
    assert ran.returncode == 2
    assert message in _plain(ran.stderr)
    assert "Traceback" not in ran.stderr
    assert not list(tmp_path.iterdir())


def test_only_a_model_with_layers_for_replies_can_begin_with_a_later_phase(tmp_path: Path) -> None:
    """Any other is refused before anything is written."""
    start = shutil.copytree(bundled_folder(), tmp_path / "start")
    config = json.loads((start / "config.json").read_text(encoding="utf-8"))
    del config["language_layers"]
    (start / "config.json").write_text(json.dumps(config), encoding="utf-8")
    ran = _run("--run", tmp_path / "run", "--out", tmp_path / "out", "--start", start, "--first", "replies")
    assert ran.returncode == 2
    assert "no layers for replies" in _plain(ran.stderr)
    assert not (tmp_path / "run").exists()
