"""The command ``route``, and route files."""

import json
from pathlib import Path

import pytest
from command_line import CONTROL, ROUTE_FILE, ROUTES, objects, refused, run

from qwen_allinone.cli.terminal import MAX_CHARACTERS

pytestmark = pytest.mark.usefixtures("loaded", "home")


class TestRoute:
    """The command ``route``."""

    def test_texts(self):
        """Each text gets a line with its route and probability, in the order given."""
        lines = run("route", "帮我订票", "Why do people yawn?").stdout.splitlines()
        assert [line.split()[2:] for line in lines] == [["帮我订票"], ["Why", "do", "people", "yawn?"]]
        assert all(line.split()[0] in ROUTES and 0 < float(line.split()[1]) <= 1 for line in lines)

    def test_file(self, tmp_path: Path):
        """A file gives one object per line in its order; a line that cannot be used gives its error."""
        file = tmp_path / "lines.txt"
        file.write_bytes(
            f"\ufeff帮我订票\r\n\r\n{CONTROL.replace(chr(10), ' ')}\n{'a' * (MAX_CHARACTERS + 1)}\nwhy?".encode()
        )
        found = objects(run("route", "--file", file, "--json"))
        assert [each.get("text") for each in found] == ["帮我订票", None, CONTROL.replace("\n", " "), None, "why?"]
        assert "empty" in found[1]["error"]
        assert "100,000" in found[3]["error"]
        assert {"route", "probabilities", "margin"} <= set(found[0])

    def test_same_decision_as_ask(self):
        """``route`` and ``ask`` give a text the same probabilities."""
        (routed,) = objects(run("route", "帮我订票", "--json"))
        (asked,) = objects(run("ask", "帮我订票", "--json"))
        assert routed["probabilities"] == pytest.approx(asked["probabilities"], abs=1e-4)

    def test_bad_lines_without_json(self):
        """Without ``--json`` a bad line is named on standard error, the others are done, and the exit code is 2."""
        result = run("route", "--file", "-", stdin="帮我订票\n\nwhy?\n".encode())
        assert len(result.stdout.splitlines()) == 2
        assert result.stderr.startswith("error: line 2")
        assert result.exit_code == 2

    def test_a_correction_is_kept(self, home: Path):
        """A corrected text is likelier to be of its route, in later processes too; the file has it."""
        (before,) = objects(run("route", "今天聊点什么呢", "--json"))
        (corrected,) = objects(run("route", "今天聊点什么呢", "--correct", "summary", "--json"))
        (after,) = objects(run("route", "今天聊点什么呢", "--json"))
        assert after["probabilities"]["summary"] > before["probabilities"]["summary"]
        assert corrected["probabilities"] == pytest.approx(after["probabilities"], abs=1e-4)
        (kept,) = (home / "corrections.jsonl").read_text(encoding="utf-8").splitlines()
        assert json.loads(kept) == {"text": "今天聊点什么呢", "route": "summary"}

    def test_a_correction_that_cannot_be(self, home: Path):
        """An unknown route, and a blank text among others, are refused, and nothing is learned."""
        assert refused(run("route", "你好", "--correct", "weather"), "'weather'")
        assert refused(run("route", "你好", " ", "--correct", "chat"), "empty")
        assert refused(run("ask", "你好", "--correct", "weather"), "'weather'")
        assert not (home / "corrections.jsonl").exists()

    @pytest.mark.parametrize("arguments", [[], ["x", "--file", "y"], ["--file", "/no/such/file"], ["  "]])
    def test_what_cannot_work(self, arguments: list[str]):
        """Neither or both of texts and file, a missing file, and a blank text are input errors."""
        assert refused(run("route", *arguments))

    def test_file_that_is_not_utf8(self, tmp_path: Path):
        """A file that is not UTF-8 is refused as a whole, with the line."""
        file = tmp_path / "lines.txt"
        file.write_bytes(b"ok\n" + "你好".encode("gbk"))
        assert refused(run("route", "--file", file, "--json"), "line 2", "UTF-8")
        assert refused(run("route", "--file", "-", "--json", stdin=b"\xff\xfe"), "line 1", "UTF-8")


class TestRouteFiles:
    """The option ``--routes``."""

    @pytest.mark.parametrize("command", ["ask", "route"])
    def test_added_route(self, tmp_path: Path, command: str):
        """A route file adds a route, whose name and description may hold control tokens."""
        (tmp_path / "poem.yaml").write_text(ROUTE_FILE.format(name="poem", runnable="chat"), encoding="utf-8")
        tokens = ROUTE_FILE.format(name='"<|im_end|><think>"', runnable="chat").replace("写诗", "<|im_end|>写诗")
        (tmp_path / "tokens.yaml").write_text(tokens, encoding="utf-8")
        (found,) = objects(run(command, "写一首诗", "--routes", tmp_path, "--json"))
        assert set(found["probabilities"]) == ROUTES | {"poem", "<|im_end|><think>"}

    def test_replaced_route(self, tmp_path: Path):
        """A file that replaces a built-in route is read, whatever its ending, and said to replace it."""
        (tmp_path / "chat.yml").write_text(ROUTE_FILE.format(name="chat", runnable="chat"), encoding="utf-8")
        result = run("route", "写一首诗", "--routes", tmp_path, "--json")
        assert set(json.loads(result.stdout)["probabilities"]) == ROUTES
        assert result.stderr.startswith("note: route 'chat' of ")
        assert "replaces the built-in one" in result.stderr

    def test_no_such_folder(self, tmp_path: Path):
        """A folder that is not there, or has no route files, is refused."""
        assert refused(run("ask", "x", "--routes", tmp_path / "none"), "none")
        assert refused(run("route", "x", "--routes", tmp_path), "*.yaml")

    @pytest.mark.parametrize(
        "content",
        [b"name: [", b"name: x\n", b"\xff\xfe", b"", ROUTE_FILE.format(name="x", runnable="nobody").encode()],
        ids=["not YAML", "fields missing", "not UTF-8", "empty", "unknown runnable"],
    )
    def test_broken_file(self, tmp_path: Path, content: bytes):
        """A route file that cannot work is refused in one line."""
        (tmp_path / "x.yaml").write_bytes(content)
        assert refused(run("route", "x", "--json", "--routes", tmp_path), "x")
