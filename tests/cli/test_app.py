"""The program as a whole: its start, its help, its model, its end."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import in_own_process, objects, refused, run
from typer.main import get_command

from qwen_allinone import __version__
from qwen_allinone.cli import app

pytestmark = pytest.mark.usefixtures("loaded", "home")


class TestStart:
    """Starting the program."""

    def test_help_is_quick_and_imports_nothing_heavy(self):
        """``--help`` takes under two seconds of computing and loads no torch, transformers, Chroma or LangChain."""
        program = """
import sys, time
from qwen_allinone.cli import main
try:
    main(["--help"])
except SystemExit as end:
    heavy = {"torch", "transformers", "chromadb", "langchain_core", "sentence_transformers", "sklearn"}
    print(end.code, sorted(heavy & set(sys.modules)), time.process_time() < 2, file=sys.stderr)
"""
        done = in_own_process(program)
        assert done.stderr.split() == ["0", "[]", "True"]
        assert "demo" in done.stdout

    def test_ask_without_a_user_leaves_the_stores_alone_and_the_terminal_clean(self):
        """``ask`` loads neither Chroma nor the embedder, and standard error holds nothing of other libraries."""
        program = """
import sys, os
from qwen_allinone.cli import main
try:
    main(["ask", "今天真好", "--json"])
except SystemExit as end:
    names = ["DO_NOT_TRACK", "HF_HUB_DISABLE_TELEMETRY", "ANONYMIZED_TELEMETRY"]
    loaded = sorted({"chromadb", "sentence_transformers"} & set(sys.modules))
    print(end.code, loaded, *(os.environ[name] for name in names), file=sys.stderr)
"""
        done = in_own_process(program, DO_NOT_TRACK="yes", PYTHONIOENCODING="ascii")
        assert done.stderr.split() == ["0", "[]", "yes", "1", "False"]
        assert json.loads(done.stdout)["sentiment"]["label"] in {"正面", "负面"}

    def test_importing_the_command_line_changes_no_environment(self):
        """Only ``main`` sets variables, and importing the module does not."""
        done = in_own_process("import os; a = dict(os.environ); import qwen_allinone.cli; print(a == dict(os.environ))")
        assert done.stdout.strip() == "True"

    def test_version(self):
        """``--version`` prints the version and nothing else."""
        assert run("--version").stdout == f"{__version__}\n"

    @pytest.mark.parametrize(
        "arguments", [["nope"], ["ask"], ["ask", "x", "--nope"], ["eval", "mood"], ["memory", "list"]]
    )
    def test_usage_errors(self, arguments: list[str]):
        """Unknown commands and options, and missing arguments, end with exit code 2 and no traceback."""
        result = run(*arguments)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert "Traceback" not in result.stderr

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["ask", "x", "--user", "a", "--user", "b"], ["--user", "2 times"]),
            (["memory", "search", "x", "--user", "a", "-k", "1", "-k", "2"], ["-k", "2 times"]),
            (["ask", "x", "--home", ""], ["--home is empty"]),
            (["memory", "list", "--user", "a", "--home="], ["--home is empty"]),
            (["route", "x", "--model", "", "--json"], ["--model is empty"]),
        ],
    )
    def test_options_are_given_once_and_are_not_empty(self, arguments: list[str], words: list[str]):
        """Neither does the last of two values win silently, nor does an empty one mean the default."""
        assert refused(run(*arguments), *words)

    def test_a_text_that_looks_like_an_option(self):
        """The error says how to give it, and given so it is answered."""
        result = run("route", "-5 degrees today")
        assert result.exit_code == 2
        assert "No such option: -5; a text that begins with - goes behind --" in result.stderr
        assert "-5 degrees today" in run("route", "--", "-5 degrees today").stdout
        assert run("kb", "ask", "none", "x", "--min-similarity", "-1").stderr.startswith("error: no knowledge base")

    @pytest.mark.skipif(os.name != "posix", reason="needs a shell that closes standard output")
    def test_closed_standard_output(self, home: Path):
        """Without a place to write to, the work is done in silence."""
        command = f"{sys.executable} -m qwen_allinone memory add 我住在上海 --user u1 --home {home} >&-"
        done = subprocess.run(["sh", "-c", command], capture_output=True, encoding="utf-8", timeout=120, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert "我住在上海" in run("memory", "list", "--user", "u1").stdout

    def test_ctrl_c_while_starting(self):
        """Ctrl-C before the first line of the command has run ends it with exit code 130 and no traceback."""
        program = """
import signal, sys
class Impatient:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            signal.raise_signal(signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Impatient())
from qwen_allinone.__main__ import main
main()
"""
        done = in_own_process(program)
        assert (done.returncode, done.stdout, done.stderr) == (130, "", "")

    def test_every_command_has_json_and_model(self):
        """Each command takes ``--json`` and ``--model``, and each of its options is explained."""
        for path, command in commands(get_command(app)):
            options = {option for parameter in command.params for option in parameter.opts}
            assert {"--json", "--model"} <= options, path
            assert all(getattr(parameter, "help", "") for parameter in command.params), path


class TestDocs:
    """What docs/cli.md says."""

    def test_the_reference_is_what_help_prints(self, monkeypatch: pytest.MonkeyPatch):
        """The reference in docs/cli.md is up to date; ``python docs/cli_reference.py`` writes it."""
        monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "docs"))
        import cli_reference

        assert cli_reference.written() == cli_reference.reference()

    def test_every_command_and_option_is_documented(self):
        """No command or option is missing from docs/cli.md."""
        page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
        for path, command in commands(get_command(app)):
            section = page.partition(f"### qwen-allinone {' '.join(path)}\n")[2].partition("### ")[0]
            for parameter in command.params:
                name = (
                    parameter.opts[0] if parameter.param_type_name == "option" else parameter.metavar or parameter.name
                )
                assert name in section, (path, name)


def commands(command, path: tuple[str, ...] = ()):
    """Every command that does something, with the words that lead to it."""
    if not hasattr(command, "commands"):
        yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


class TestModel:
    """The option ``--model``."""

    def test_unknown_name(self):
        """A name that is no model is refused with what is allowed."""
        assert refused(run("ask", "x", "--model", "nope"), "'nope'", "bundled")

    def test_incomplete_folder(self, tmp_path: Path):
        """A folder without weights is refused with what it lacks."""
        assert refused(run("route", "x", "--model", tmp_path), "config.json", "safetensors")

    def test_broken_weights(self, tmp_path: Path, model_folder: Path):
        """A folder with a broken weights file is refused in one line."""
        broken = shutil.copytree(model_folder, tmp_path / "broken")
        next(broken.glob("*.safetensors")).write_bytes(b"no weights")
        assert refused(run("ask", "x", "--json", "--model", broken), "broken")

    def test_hub_without_network(self, tmp_path: Path):
        """A hub id that is not cached is refused in one line where the hub cannot be reached."""
        program = "from qwen_allinone.cli import main; main(['ask', 'x', '--json', '--model', 'nobody/nothing'])"
        nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
        done = in_own_process(program, **nowhere)
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.startswith("error: model 'nobody/nothing'")
        assert done.stderr.count("\n") == 1

    def test_any_qwen_folder(self, model_folder: Path):
        """``--model`` takes a folder, and the answer names it."""
        (turn,) = objects(run("ask", "今天真好", "--json", "--model", model_folder))
        assert turn["model"] == str(model_folder)


class TestDoctor:
    """The command ``doctor``."""

    def test_environment(self):
        """``doctor`` says what is installed and which model would run."""
        (found,) = objects(run("doctor", "--json"))
        assert found["ready"] is True
        assert "torch" in run("doctor").stdout

    def test_missing_model(self):
        """A model that is not there is what ``doctor`` reports, with exit code 1."""
        result = run("doctor", "--model", "nope", "--json")
        assert result.exit_code == 1
        assert json.loads(result.stdout)["ready"] is False

    def test_check(self):
        """``doctor --check`` prints the diagnostics of the model as one JSON object."""
        (found,) = objects(run("doctor", "--check", "--rows", "2"))
        assert found["template"]["equal"] is True
        assert found["data"]["route"]["rows"] == 2

    def test_check_of_a_server(self):
        """A model on a server is refused by name, before anything is asked of it."""
        assert refused(run("doctor", "--check", "--model", "http://127.0.0.1:9/v1#m"), "is on a server")


@pytest.mark.skipif(os.name != "posix", reason="needs a pipe that reports its closed end")
def test_closed_pipe(home: Path):
    """A reader that goes away early ends the command without a word on standard error."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "qwen_allinone", "kb", "list", "--home", str(home)],
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=120,
        check=False,
    )
    os.close(writing)
    assert done.stderr == b""
    assert done.returncode == 1
