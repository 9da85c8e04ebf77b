"""The command ``chat``."""

import io
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import objects, run
from filelock import FileLock

from qwen_allinone.cli import app
from qwen_allinone.model import SharedQwen

pytestmark = pytest.mark.usefixtures("loaded", "home")


class TestChat:
    """The command ``chat``."""

    def test_pipe(self):
        """From a pipe each line gets its mood and a reply; ``/quit`` ends the chat."""
        result = run("chat", stdin="今天真好\n我很累\n/quit\n没人读\n".encode())
        assert result.exit_code == 0
        assert sum(line.startswith(("😄", "😟")) for line in result.stdout.splitlines()) == 2

    def test_json(self):
        """``--json`` gives one object a line in step with the input, also for lines that cannot be used."""
        found = objects(run("chat", "--json", stdin="今天真好\n\n".encode() + b"\xff\n" + b"x" * 500_000 + b"\nwhy?"))
        assert [set(each) == {"error"} for each in found] == [False, True, True, True, False]
        assert found[0]["sentiment"]["label"] in {"正面", "负面"}

    def test_bad_line_without_json(self):
        """Without ``--json`` a bad line is named on standard error, the chat goes on, and ends with exit code 2."""
        result = run("chat", stdin="\n今天真好\n".encode())
        assert result.exit_code == 2
        assert result.stderr.count("\n") == 1
        assert result.stdout

    def test_opinions_get_a_reply(self):
        """In a conversation even an opinion is answered with words."""
        text = "等了一个多小时，菜端上来还是凉的，太失望了。"
        (turn,) = objects(run("chat", "--json", stdin=text.encode()))
        assert turn["route"] != "sentiment" or isinstance(turn["output"], str)

    def test_history(self, monkeypatch: pytest.MonkeyPatch):
        """A turn is told what was said and answered before it."""
        seen, decide = [], SharedQwen.decide

        def watched(self, text, questions, **options):
            seen.append([message.content for message in options.get("history", ())])
            return decide(self, text, questions, **options)

        monkeypatch.setattr(SharedQwen, "decide", watched)
        first, _ = objects(run("chat", "--json", stdin="今天有点无聊，陪我聊聊。\n为什么？\n".encode()))
        assert seen[0] == []
        told = next(history for history in seen if history)
        assert told[0] == "今天有点无聊，陪我聊聊。"
        assert not isinstance(first["output"], str) or told[1] == first["output"]

    def test_no_lock_between_turns(self, home: Path, monkeypatch: pytest.MonkeyPatch):
        """While the chat waits for its next line, others can lock and use the data folder."""
        free = []

        class Lines(io.BytesIO):
            def readline(self, size: int | None = -1) -> bytes:
                if home.exists():
                    with FileLock(home / "store.lock").acquire(timeout=0):
                        free.append(True)
                return super().readline(size)

        lines = io.TextIOWrapper(Lines("今天真好\n我很累\n".encode()), encoding="utf-8")
        monkeypatch.setattr(sys, "stdin", lines)
        with pytest.raises(SystemExit) as end:
            app(["chat", "--user", "u1", "--json"])
        assert end.value.code == 0
        assert len(free) == 2

    @pytest.fixture
    def ctrl_c(self) -> Iterator[None]:
        """Interrupts, also where the tests run in the background, in which a shell has them ignored."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
        signal.signal(signal.SIGINT, before)

    @pytest.mark.usefixtures("ctrl_c")
    def test_ctrl_c_stops_the_reply(self, monkeypatch: pytest.MonkeyPatch):
        """Ctrl-C while an answer is written ends that answer, not the chat, and what was said is remembered."""

        class Impatient(io.StringIO):
            stopped = False

            def write(self, text: str) -> int:
                if self.tell() > 20 and not self.stopped:
                    self.stopped = True
                    signal.raise_signal(signal.SIGINT)
                return super().write(text)

        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("今天有点无聊，陪我聊聊。\n谢谢\n".encode())))
        monkeypatch.setattr(sys, "stdout", Impatient())
        with pytest.raises(SystemExit) as end:
            app(["chat", "--user", "u1"])
        assert end.value.code == 0
        shown = sys.stdout.getvalue()
        assert "…\n" in shown
        assert "今天有点无聊，陪我聊聊。" in run("memory", "list", "--user", "u1").stdout
        assert sum(line.startswith(("😄", "😟")) for line in shown.splitlines()) == 2

    @pytest.mark.usefixtures("ctrl_c")
    def test_ctrl_c_while_waiting(self, monkeypatch: pytest.MonkeyPatch):
        """Ctrl-C outside an answer ends the command with exit code 130 and no traceback."""

        class Interrupted(io.BytesIO):
            def readline(self, size: int | None = -1) -> bytes:
                signal.raise_signal(signal.SIGINT)
                return super().readline(size)

        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Interrupted()))
        with pytest.raises(SystemExit) as end:
            app(["chat"])
        assert end.value.code == 130
