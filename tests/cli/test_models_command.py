"""The commands ``pull`` and ``models``, against a hub on this machine."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import objects, refused, run
from fake_hub import FakeHub, Repository

from qwen_allinone.model.weights.loading import bundled_folder

NAME = "Qwen/Qwen2.5-0.5B-Instruct"

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    """A hub that has the bundled model under the name of a real one."""
    with FakeHub({NAME: Repository.from_folder(bundled_folder())}).serving() as server:
        yield server


@pytest.fixture
def here(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """The hub, which this process uses with a cache of the test's own."""
    hub.use(monkeypatch, tmp_path)
    return hub


def own_process(hub: FakeHub, home: Path, *arguments: str, **options) -> subprocess.Popen:
    """The program in a process of its own, as a user starts it."""
    command = [sys.executable, "-m", "qwen_allinone", *arguments]
    environment = os.environ | hub.environment(home)
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, **options)


@pytest.mark.skipif(os.name != "posix", reason="needs a terminal")
def test_from_nothing_to_an_answer(hub: FakeHub, tmp_path: Path, model_folder: Path):
    """Pulled through the variables of the hub, a model is listed, is the default, and answers with the hub gone.

    A person is told once which model it is.
    """
    hub.repositories[NAME] = Repository.from_folder(model_folder)
    with own_process(hub, tmp_path, "pull", "--json", stderr=subprocess.PIPE) as process:
        out, problems = process.communicate(timeout=120)
    assert (process.returncode, problems) == (0, b"")
    pulled = json.loads(out)
    assert pulled["name"] == NAME and pulled["default"] and Path(pulled["folder"]).is_relative_to(tmp_path)
    hub.status = 503
    with own_process(hub, tmp_path, "models", "--json") as process:
        listed = json.loads(process.communicate(timeout=120)[0])
    assert listed["default"] == NAME
    assert [(each["name"], each["default"]) for each in listed["models"]] == [("bundled", False), (NAME, True)]
    hub.asked.clear()
    screen, terminal = os.openpty()
    with own_process(hub, tmp_path, "ask", "今天真好", "--json", stderr=terminal) as process:
        os.close(terminal)
        out, _ = process.communicate(timeout=120)
    assert (process.returncode, hub.asked) == (0, [])
    assert json.loads(out)["model"] == NAME
    assert os.read(screen, 1 << 16).decode(errors="replace").count(f"note: {NAME} answers") == 1
    os.close(screen)


@pytest.mark.usefixtures("here")
def test_pull_says_what_came_and_how_to_use_it():
    """Name, parameters, size and folder, then the command; and nothing on standard error of a pipe."""
    result = run("pull", NAME)
    assert (result.exit_code, result.stderr) == (0, "")
    for words in (NAME, "11,108,096 参数 parameters", "22.2 MB", "文件夹 folder: ", "it is the default now"):
        assert words in result.stdout
    lines = run("models").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["bundled", NAME]
    assert lines[2].endswith("默认 default") and "default" not in lines[1]


@pytest.mark.usefixtures("here")
def test_a_model_that_is_not_the_default_comes_with_its_option(monkeypatch: pytest.MonkeyPatch):
    """Where the environment names another model, the pulled one has to be named."""
    monkeypatch.setenv("QWEN_ALLINONE_MODEL", "http://127.0.0.1:9/v1#m")
    assert f"qwen-allinone chat --model {NAME} · 默认 default: http://127.0.0.1:9/v1#m" in run("pull").stdout
    assert run("models").stdout.splitlines()[-1] == "默认 default: http://127.0.0.1:9/v1#m"
    (listed,) = objects(run("models", "--json", "--model", NAME))
    assert [each["name"] for each in listed["models"] if each["default"]] == [NAME]


def test_name_and_revision(here: FakeHub):
    """The name may be given as ``--model``, and a revision is part of the name from then on."""
    here.repositories[NAME].revisions = ("main", "v1")
    (pulled,) = objects(run("pull", "--model", NAME, "--revision", "v1", "--json"))
    assert pulled["name"] == f"{NAME}@v1"
    assert refused(run("pull", NAME, "--model", NAME), "not both")


def test_errors_are_one_line(here: FakeHub, monkeypatch: pytest.MonkeyPatch):
    """Names that are none, unknown ones, those of other kinds, gated ones and a hub that is down."""
    assert refused(run("pull", "../../etc"), "owner/name")
    assert refused(run("pull", "nobody/nothing", "--json"), "check the spelling")
    here.repositories["nobody/else"] = Repository({"config.json": b'{"model_type": "gpt2"}', "tokenizer.json": b"{}"})
    assert refused(run("pull", "nobody/else"), "lacks model.safetensors")
    here.repositories["nobody/else"].files["model.safetensors"] = b""
    assert refused(run("pull", "nobody/else"), "not supported", "gpt2")
    here.repositories[NAME].gated = True
    assert refused(run("pull"), "hf auth login")
    here.status = 502
    assert refused(run("pull"), "HTTP 502", code=1)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert refused(run("pull"), "HF_ENDPOINT", code=1)


@pytest.mark.skipif(os.name != "posix", reason="needs signals and a terminal")
def test_a_person_sees_a_bar_and_may_stop_it(hub: FakeHub, tmp_path: Path):
    """The bar counts megabytes although the hub's own are off; Ctrl-C stops at once and leaves no model."""
    hub.bytes_per_second = 8_000_000
    screen, terminal = os.openpty()
    with own_process(hub, tmp_path, "pull", stderr=terminal) as process:
        os.close(terminal)
        shown = b""
        while not re.search(rb"1\d\.\d/2\d\.\d MB", shown):
            shown += os.read(screen, 4096)
        process.send_signal(signal.SIGINT)
        while b"stopped" not in shown:
            shown += os.read(screen, 4096)
        assert process.communicate(timeout=60)[0] == b""
    os.close(screen)
    assert process.returncode == 130
    assert "files that are whole are kept" in " ".join(shown.decode(errors="replace").split())
    assert list(tmp_path.rglob("model.safetensors")) == []
    hub.bytes_per_second = None
    hub.asked.clear()
    with own_process(hub, tmp_path, "pull", "--json", stderr=subprocess.PIPE) as process:
        out, problems = process.communicate(timeout=120)
    assert (process.returncode, problems) == (0, b"") and json.loads(out)["default"]
    assert hub.downloads() == ["model.safetensors"]
