"""The wheel holds the package and its data files and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names of the files in a freshly built wheel."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = out.glob("*.whl")
    assert wheel.stat().st_size < 40 * 2**20
    return zipfile.ZipFile(wheel).namelist()


def test_one_import_name_is_installed(names: list[str]) -> None:
    """Besides its own metadata, the wheel installs the folder qwen_allinone alone."""
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"qwen_allinone"}


@pytest.mark.parametrize(
    "name",
    [
        "py.typed",
        "model/weights/bundled/model.safetensors",
        "model/weights/bundled/tokenizer.json",
        "model/weights/bundled/capabilities.json",
        "model/weights/bundled/README.md",
        "model/prompts/question.yaml",
        "router/routes/chat.yaml",
        "router/prompts/route.yaml",
        "tools/prompts/sentiment.yaml",
        "memory/bundled_embedder/README.md",
        "eval/sets/sentiment.jsonl",
        "eval/sets/routes.jsonl",
    ],
)
def test_data_files_are_in_the_wheel(names: list[str], name: str) -> None:
    """What the package reads at run time travels with it."""
    assert f"qwen_allinone/{name}" in names


def test_nothing_else_is_in_the_wheel(names: list[str]) -> None:
    """No tests, no training data, no caches, no pickles."""
    allowed = (".py", ".yaml", ".jsonl", ".json", ".safetensors", ".md", ".typed", ".txt")
    inside = [name for name in names if name.startswith("qwen_allinone/")]
    assert [name for name in inside if not name.endswith(allowed)] == []
    assert [name for name in names if "__pycache__" in name or "training/" in name or "tests/" in name] == []


def test_the_bundled_model_is_small() -> None:
    """The bundled weights stay below 25 MB."""
    weights = ROOT / "qwen_allinone" / "model" / "weights" / "bundled" / "model.safetensors"
    assert weights.stat().st_size <= 25_000_000
