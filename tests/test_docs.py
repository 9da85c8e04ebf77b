"""What the README and the docs show works."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "README.zh-CN.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"^<!-- file: ([\w.-]+) -->\n```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_blocks_of_a_page_run_in_order(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reader can paste a page's blocks one after the other."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QWEN_ALLINONE_HOME", str(tmp_path / "home"))
    names: dict[str, object] = {"__name__": "page"}
    text = page.read_text(encoding="utf-8")
    for name, content in _FILE.findall(text):
        (tmp_path / name).write_text(content, encoding="utf-8")
    for number, block in enumerate(_BLOCK.findall(text), start=1):
        exec(compile(block, f"{page.name} block {number}", "exec"), names)
    capsys.readouterr()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_lead_to_files(page: Path) -> None:
    """No relative link is broken."""
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_english_and_the_chinese_readme_show_the_same_commands() -> None:
    """The twins do not drift apart."""
    shell = re.compile(r"^```(?:bash|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)
    twins = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md")]
    blocks = [re.sub(r"#.*", "", "\n".join(shell.findall(text))) for text in twins]
    commands = [re.findall(r"qwen-allinone \w+|make \w+", block) for block in blocks]
    assert commands[0]
    assert commands[0] == commands[1]
