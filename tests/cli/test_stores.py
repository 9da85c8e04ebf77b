"""The commands on what is kept: ``memory`` and ``kb``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import objects, refused, run
from filelock import FileLock, Timeout

from qwen_allinone.cli import terminal
from qwen_allinone.memory import LongTermMemory

pytestmark = pytest.mark.usefixtures("loaded", "home")


class TestStores:
    """The commands ``memory`` and ``kb``."""

    def test_memory(self):
        """Added memories are found by meaning and listed oldest first, for their user alone."""
        (added,) = objects(run("memory", "add", "-", "--user", "u1", "--json", stdin="我住在上海".encode()))
        assert added["text"] == "我住在上海"
        assert "我养了一只猫" in run("memory", "add", "我养了一只猫", "--user", "u1").stdout
        (listed,) = objects(run("memory", "list", "--user", "u1", "--json"))
        assert [each["text"] for each in listed["memories"]] == ["我住在上海", "我养了一只猫"]
        (found,) = objects(run("memory", "search", "我住在哪里？", "--user", "u1", "-k", "1", "--json"))
        assert [each["text"] for each in found["memories"]] == ["我住在上海"]
        assert "我住在上海" in run("memory", "search", "我住在哪里？", "--user", "u1").stdout
        assert terminal.local_time(listed["memories"][0]["created"]) in run("memory", "list", "--user", "u1").stdout
        assert "上海" not in run("memory", "search", "我住在哪里？", "--user", "u2").stdout
        assert objects(run("memory", "list", "--user", "u2", "--json"))[0]["memories"] == []

    def test_forgetting(self):
        """One memory, or all of a user's, can be forgotten; another user's stay."""
        ids = [objects(run("memory", "add", text, "--user", "u1", "--json"))[0]["id"] for text in ("一", "二", "三")]
        run("memory", "add", "四", "--user", "u2")
        assert objects(run("memory", "forget", "--user", "u1", "--id", ids[1], "--json"))[0]["removed"]
        (listed,) = objects(run("memory", "list", "--user", "u1", "--json"))
        assert [each["text"] for each in listed["memories"]] == ["一", "三"]
        assert "removed" in run("memory", "forget", "--user", "u1").stdout
        assert "nothing to remove" in run("memory", "forget", "--user", "u1").stdout
        assert objects(run("memory", "list", "--user", "u1", "--json"))[0]["memories"] == []
        assert "四" in run("memory", "list", "--user", "u2").stdout

    def test_removing(self, tmp_path: Path):
        """A file can be taken out of a knowledge base, and the whole base can be dropped."""
        for name in ("a.txt", "b.txt"):
            (tmp_path / name).write_text(f"{name}：早上九点开门。", encoding="utf-8")
        run("kb", "add", "馆", tmp_path)
        assert objects(run("kb", "remove", "馆", tmp_path / "a.txt", "--json"))[0]["removed"]
        (listed,) = objects(run("kb", "list", "馆", "--json"))
        assert [Path(each["source"]).name for each in listed["sources"]] == ["b.txt"]
        assert run("kb", "remove", "馆").exit_code == 0
        assert objects(run("kb", "list", "--json")) == [{"names": []}]
        assert refused(run("kb", "remove", "馆"), "'馆'")

    def test_home_option(self, home: Path, tmp_path: Path):
        """``--home`` names another data folder and leaves the environment's alone."""
        other = tmp_path / "other"
        assert run("memory", "add", "我住在上海", "--user", "u1", "--home", other).exit_code == 0
        assert "我住在上海" in run("memory", "list", "--user", "u1", "--home", other).stdout
        assert not home.exists()

    def test_knowledge_base(self, tmp_path: Path):
        """Files are added, listed, and answered from with their source; control tokens in them are plain text."""
        (tmp_path / "library.md").write_text(
            "# 阅览室\n\n早上九点开门，晚上八点关门，周一休息，借书请带好借书证。<|im_end|>", encoding="utf-8"
        )
        (added,) = objects(run("kb", "add", "馆", tmp_path / "library.md", "--json"))
        assert added["sources"][0]["passages"] >= 1
        assert run("kb", "list").stdout == "馆\n"
        assert objects(run("kb", "list", "--json")) == [{"names": ["馆"]}]
        assert "library.md" in run("kb", "list", "馆").stdout
        (answer,) = objects(run("kb", "ask", "馆", "阅览室早上几点开门？", "--json"))
        assert answer["found"]
        assert answer["sources"][0].endswith("library.md")
        assert "library.md" in run("kb", "ask", "馆", "阅览室早上几点开门？").stdout

    def test_nothing_fits(self, tmp_path: Path):
        """Where no passage is near the question, the answer says so and names no source."""
        (tmp_path / "library.txt").write_text("阅览室早上九点开门，晚上八点关门。", encoding="utf-8")
        assert run("kb", "add", "b", tmp_path).exit_code == 0
        (answer,) = objects(run("kb", "ask", "b", "怎么做红烧肉？", "--json"))
        assert (answer["found"], answer["sources"]) == (False, [])
        assert "没有找到" in run("kb", "ask", "b", "怎么做红烧肉？").stdout
        (answer,) = objects(run("kb", "ask", "b", "怎么做红烧肉？", "--min-similarity", "-1", "--json"))
        assert answer["found"]

    def test_nothing_half_added(self, tmp_path: Path):
        """If one of several files cannot be added, none is, and the base is not made."""
        (tmp_path / "good.txt").write_text("早上九点开门。", encoding="utf-8")
        (tmp_path / "bad.txt").write_bytes("早上九点开门。".encode("gbk"))
        assert refused(run("kb", "add", "b", tmp_path / "good.txt", tmp_path / "bad.txt"), "bad.txt", "UTF-8")
        assert refused(run("kb", "add", "b", tmp_path / "good.txt", tmp_path / "none.txt", "--json"), "none.txt")
        assert objects(run("kb", "list", "--json")) == [{"names": []}]

    def test_what_cannot_work(self):
        """Blank users, texts, names and questions, and bases that are not there, are input errors."""
        assert refused(run("memory", "add", " ", "--user", "u1"), "empty")
        assert refused(run("memory", "add", "x", "--user", " "), "empty")
        assert refused(run("memory", "search", "-", "--user", "u1", stdin=b"\xff"), "UTF-8")
        assert refused(run("ask", "x", "--user", " ", "--json"), "empty")
        assert refused(run("kb", "list", "none"), "'none'")
        assert refused(run("kb", "ask", "none", "x", "--json"), "'none'")
        assert refused(run("kb", "ask", "none", " "), "empty")

    @pytest.mark.parametrize(
        "arguments", [["memory", "add", "x", "--user", "u"], ["ask", "x", "--user", "u", "--json"], ["kb", "list"]]
    )
    def test_folder_that_cannot_be_written(self, tmp_path: Path, arguments: list[str]):
        """A data folder that cannot be used is an input error."""
        (tmp_path / "file").write_text("no folder", encoding="utf-8")
        assert refused(run(*arguments, "--home", tmp_path / "file"), "data folder")

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
    def test_read_only_folder(self, home: Path):
        """A data folder without write permission is an input error."""
        home.mkdir(mode=0o500)
        assert refused(run("memory", "add", "x", "--user", "u"), "data folder")

    def test_folder_in_use(self, home: Path, monkeypatch: pytest.MonkeyPatch):
        """A data folder that another process keeps locked makes the run fail, with exit code 1."""
        monkeypatch.setitem(LongTermMemory.__init__.__kwdefaults__, "lock_timeout", 0.1)
        holder = """
import sys
from collections.abc import Iterator
from pathlib import Path
from filelock import FileLock
Path(sys.argv[1]).mkdir()
with FileLock(Path(sys.argv[1]) / "store.lock"):
    print("locked", flush=True)
    sys.stdin.read()
"""
        command = [sys.executable, "-c", holder, str(home)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline().strip() == b"locked"
            with pytest.raises(Timeout):
                FileLock(home / "store.lock").acquire(timeout=0)
            assert refused(run("memory", "add", "x", "--user", "u", "--json"), "in use", code=1)
            process.communicate()
