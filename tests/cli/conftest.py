"""What the tests of the commands start from."""

import os
from pathlib import Path

import pytest

from qwen_allinone.model import SharedQwen


@pytest.fixture(scope="module")
def loaded() -> None:
    """Load the bundled model once, so that nothing it prints while loading mixes with a command's output."""
    SharedQwen.load(os.environ.get("QWEN_ALLINONE_MODEL", "bundled"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of the test's own."""
    folder = tmp_path / "home"
    monkeypatch.setenv("QWEN_ALLINONE_HOME", str(folder))
    return folder
