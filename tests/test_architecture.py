"""The arrows between the folders run one way."""

import ast
from pathlib import Path

import pytest

import qwen_allinone

PACKAGE = Path(qwen_allinone.__file__).parent
MAY_IMPORT = {
    "model": {"errors", "settings", "hub_cache"},
    "router": {"errors", "model"},
    "tools": {"errors", "model"},
    "memory": {"errors", "model"},
    "eval": {"errors", "model"},
    "errors": set(),
    "hub_cache": {"errors"},
    "settings": {"errors", "hub_cache"},
    "cli": {"errors", "settings", "hub_cache", "model", "router", "tools", "memory", "eval", "assistant"},
    "assistant": {"errors", "model", "router", "tools", "memory", "settings"},
}


def _imported_parts(path: Path) -> set[str]:
    parts = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module != "qwen_allinone" else [f"qwen_allinone.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        parts |= {name.split(".")[1] for name in names if name.startswith("qwen_allinone.")}
    return parts - {"__version__"}


@pytest.mark.parametrize("part", sorted(MAY_IMPORT))
def test_a_part_imports_only_what_it_builds_on(part: str) -> None:
    """The model knows none of its users, and router, tools, memory and eval do not know each other."""
    files = [PACKAGE / f"{part}.py"] if (PACKAGE / f"{part}.py").is_file() else list((PACKAGE / part).rglob("*.py"))
    assert files
    for path in files:
        assert _imported_parts(path) <= MAY_IMPORT[part] | {part}, path


def test_nothing_in_the_package_imports_the_training_or_the_tests() -> None:
    """What ships stands alone."""
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "from training" not in text and "import training" not in text, path


@pytest.mark.parametrize(
    ("folder", "others"), [("training", {"benchmarks", "tests"}), ("benchmarks", {"training", "tests"})]
)
def test_training_and_benchmarks_stand_apart(folder: str, others: set[str]) -> None:
    """Neither imports the other or the tests, nor finds its way there by a path."""
    files = list((PACKAGE.parent / folder).rglob("*.py"))
    assert files
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in others, path
            elif isinstance(node, ast.Import):
                assert not {alias.name.split(".")[0] for alias in node.names} & others, path
            elif isinstance(node, ast.Constant):
                assert node.value not in others, path
