"""One command makes a model that the toolkit loads."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from qwen_allinone.model import Choice, SharedQwen

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
    assert qwen.capabilities.summary == "extractive"
    decision = qwen.decide("还行", {"mood": Choice(instructions="情绪？", criteria={"正面": None, "负面": None})})[
        "mood"
    ]
    assert abs(sum(decision.probabilities.values()) - 1) < 1e-9
    weights = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert weights["model_type"] == "qwen2"
    assert not list(tmp_path.rglob("*.bin"))
    assert any("accuracy" in json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines())
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    again = _run("--run", run, "--out", out)
    assert again.returncode == 2
    assert "--resume" in again.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "huge"], "there is no size"),
        (["--resume"], "no training"),
        (["--start", "docs"], "lacks model.safetensors"),
        (["--data", "nowhere"], "does not exist"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_written(
    options: list[str], message: str, tmp_path: Path
) -> None:
    """One clear line, exit code 2, and no folder."""
    ran = _run("--run", tmp_path / "run", "--out", tmp_path / "out", *options)
    assert ran.returncode == 2
    assert message in " ".join(ran.stderr.replace("│", " ").split())
    assert "Traceback" not in ran.stderr
    assert not list(tmp_path.iterdir())
