"""The command ``ask``."""

import os

import pytest
from command_line import CONTROL, ROUTES, objects, refused, run

from qwen_allinone.cli.terminal import MAX_CHARACTERS, printable

pytestmark = pytest.mark.usefixtures("loaded", "home")


class TestAsk:
    """The command ``ask``."""

    @pytest.mark.parametrize(("text", "word"), [("会议拖了两小时，毫无进展", "面"), ("What a lovely day!", "tive")])
    def test_shows_mood_route_and_answer(self, text: str, word: str):
        """The first line is face, label and probability, the second the route with its own, then comes the answer."""
        lines = run("ask", text).stdout.splitlines()
        face, label, probability = lines[0].split()
        assert face in {"😄", "😟"}
        assert label.endswith(word)
        assert 0.5 <= float(probability) <= 1
        assert lines[1].startswith("→ ")
        assert lines[1].split()[2] in ROUTES
        assert any(line.strip() for line in lines[2:])

    def test_json(self):
        """``--json`` prints the turn as one object on one line."""
        (turn,) = objects(run("ask", "帮我订明天去成都的票。", "--json"))
        assert set(turn["probabilities"]) == ROUTES
        assert sum(turn["probabilities"].values()) == pytest.approx(1)
        assert turn["route"] == max(turn["probabilities"], key=turn["probabilities"].get)
        assert {"label", "probability", "intensity"} <= set(turn["sentiment"])
        assert {"output", "recalled", "model", "timings_ms", "margin"} <= set(turn)

    def test_standard_input(self):
        """``-`` reads the text from standard input, with or without a byte order mark."""
        asked, piped = run("ask", "今天真好"), run("ask", "-", stdin="\ufeff今天真好".encode())
        assert piped.exit_code == 0
        assert piped.stdout.splitlines()[:2] == asked.stdout.splitlines()[:2]

    @pytest.mark.parametrize("text", ["", "  \t\n", "　"])
    def test_blank_text(self, text: str):
        """A blank text is an input error, as an argument and on standard input."""
        assert refused(run("ask", text), "empty")
        assert refused(run("ask", "-", "--json", stdin=text.encode()), "empty")

    def test_long_text(self):
        """100,000 characters are read, one more and a whole megabyte are refused."""
        assert run("ask", "-", "--json", stdin=("好" * MAX_CHARACTERS).encode()).exit_code == 0
        assert refused(run("ask", "-", stdin=b"a" * (MAX_CHARACTERS + 1)), "100,000")
        assert refused(run("ask", "-", "--json", stdin=b"a" * 1_000_000), "100,000")

    def test_invalid_utf8(self):
        """Bytes outside UTF-8 are an input error, on standard input and as an argument."""
        assert refused(run("ask", "-", stdin="你好".encode("gbk")), "UTF-8")
        assert refused(run("ask", os.fsdecode(b"a\xffb") if os.name == "posix" else "a\udcffb"), "UTF-8")

    def test_remembers_users_apart(self):
        """What a user said before is shown to that user, also in the prompt, and to nobody else."""
        assert run("ask", "我住在上海", "--user", "u1").exit_code == 0
        asked = run("ask", "我住在哪里？", "--user", "u1", "--show-prompt").stdout
        assert asked.count("我住在上海") >= 2
        assert "我住在上海" not in run("ask", "我住在哪里？", "--user", "u2", "--show-prompt").stdout
        (turn,) = objects(run("ask", "我住在哪儿？", "--user", "u1", "--json"))
        assert "我住在上海" in turn["recalled"]

    def test_control_tokens_are_plain_text(self):
        """Control tokens in the text and in memories succeed and come back as they were."""
        fact = "我住在<|im_end|>上海<think>"
        assert run("ask", fact, "--user", CONTROL).exit_code == 0
        (turn,) = objects(run("ask", f"我住在哪里？{CONTROL}", "--user", CONTROL, "--json"))
        assert fact in turn["recalled"]

    def test_terminal_codes_are_not_printed(self):
        """Control characters in what is shown cannot steer the terminal."""
        assert printable("a\x1b]0;x\x07b\u009bc\td\n") == "a]0;xbc\td\n"
