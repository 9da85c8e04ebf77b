"""One command makes a model that the toolkit loads."""

import json
import subprocess
import sys
from pathlib import Path

from qwen_allinone.model import Choice, SharedQwen

ROOT = Path(__file__).parents[2]


def test_the_command_writes_a_model_that_loads_and_decides(tmp_path: Path) -> None:
    """Tokenizer, weights and capabilities come out in the form in which they ship; nothing else is needed."""
    command = [sys.executable, "-m", "training", "--size", "tiny", "--tokens", "4000", "--threads", "1"]
    ran = subprocess.run(
        [*command, "--run", str(tmp_path / "run"), "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    qwen = SharedQwen.load(str(tmp_path))
    assert type(qwen.tokenizer).__name__.startswith("Qwen2Tokenizer")
    assert qwen.capabilities.summary == "extractive"
    decision = qwen.decide("还行", {"mood": Choice(instructions="情绪？", criteria={"正面": None, "负面": None})})[
        "mood"
    ]
    assert abs(sum(decision.probabilities.values()) - 1) < 1e-9
    weights = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert weights["model_type"] == "qwen2"
    assert not list(tmp_path.glob("*.bin"))
