import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from platform import python_version

import pytest
from huggingface_hub import constants

import qwen_allinone
from qwen_allinone.cli import packages
from qwen_allinone.cli.environment import Environment
from qwen_allinone.model.weights import precision
from qwen_allinone.model.weights.cache import QuantizedWeightsCache
from qwen_allinone.model.weights.report import QuantizationReport

examine = Environment.from_model_name


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """Give each test a cache and a home of its own."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("QWEN_ALLINONE_HOME", str(tmp_path / "home"))


def test_versions_are_those_installed(model_folder):
    """Python, this package and what its results depend on are named with their versions."""
    found = examine(str(model_folder)).versions
    assert found["python"] == python_version() and found["qwen-allinone"] == qwen_allinone.__version__
    for name in ("torch", "transformers", "langchain-core", "chromadb", "sentence-transformers"):
        assert found[name] == version(name)


def test_a_good_model_here_is_ready(model_folder):
    """With everything installed and a model that can be loaded, nothing is missing."""
    found = examine(str(model_folder))
    assert found.ready and found.missing == () and found.model.loadable


def test_the_environment_is_json_and_lines(model_folder):
    """Plain values and lines have the same facts, and no line is broken in two."""
    found = examine(str(model_folder))
    plain = found.to_json()
    assert json.loads(json.dumps(plain)) is not None and plain["model"]["architecture"] == "Qwen2ForCausalLM"
    assert plain["ready"] is True and plain["devices"]["cpu_threads"] >= 1
    assert not any("\n" in line for line in found.lines)
    assert "Qwen2ForCausalLM" in "\n".join(found.lines) and "home" in "\n".join(found.lines)


def test_the_dtype_is_told_as_far_as_it_is_known(model_folder, tmp_path, monkeypatch):
    """fp32 for a small model; for another what its first load has found, once there was one."""
    monkeypatch.setenv("QWEN_ALLINONE_CACHE", str(tmp_path / "kept"))
    assert examine(str(model_folder)).quantization.dtype == "fp32"
    monkeypatch.setattr(precision, "MIN_PARAMETERS", 0)
    found = examine(str(model_folder))
    assert found.quantization is None and "settled by the first load" in "\n".join(found.lines)
    QuantizedWeightsCache(model_folder).keep_report(QuantizationReport("int8", "decides as fp32 does, and faster"))
    found = examine(str(model_folder))
    assert found.to_json()["quantization"]["dtype"] == "int8"
    assert "dtype: int8 · decides as fp32 does, and faster" in "\n".join(found.lines)


def test_a_model_on_a_server_computes_as_the_server_likes():
    """Nothing is asked of the server, and the choice of the dtype is said to be its own."""
    found = examine("http://127.0.0.1:9/v1#m")
    assert found.ready and found.quantization is None and "the server's choice" in "\n".join(found.lines)


def test_folders_say_whether_they_can_be_written(model_folder, tmp_path, monkeypatch):
    """A folder that is not there yet counts by its nearest parent; one below a file can never be made."""
    cache, home = examine(str(model_folder)).folders
    assert (cache.path, cache.exists, cache.writable) == (str(tmp_path / "cache"), False, True)
    assert (home.path, home.exists, home.writable) == (str(tmp_path / "home"), False, True)
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("QWEN_ALLINONE_HOME", str(tmp_path / "file" / "home"))
    assert examine(str(model_folder)).folders[1].writable is False
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_missing_packages_come_with_their_install_line(model_folder, monkeypatch):
    """Absent and too old packages are named from this package's own metadata; those of extras are optional."""
    lines = [
        "absent-thing>=1.5",
        "torch>=9999",
        "torch>=2",
        "never; python_version < '3'",
        "absent-extra>=2; extra == 'serve'",
        "absent-tool; extra == 'dev'",
    ]
    monkeypatch.setattr(packages, "requires", lambda _: lines)
    monkeypatch.setattr(packages, "metadata", lambda _: type("M", (), {"get_all": lambda *_: ["dev", "serve"]})())
    found = examine(str(model_folder))
    assert [(each.remedy, each.optional) for each in found.missing] == [
        ('pip install "absent-thing>=1.5"', False),
        ('pip install "torch>=9999"', False),
        ('pip install "qwen-allinone[serve]"', True),
    ]
    assert not found.ready and any('pip install "torch>=9999"' in line for line in found.lines)


def test_an_extra_alone_does_not_stop_anything(model_folder, monkeypatch):
    """Only what the core needs keeps it from being ready."""
    monkeypatch.setattr(packages, "requires", lambda _: ["absent-extra; extra == 'serve'"])
    monkeypatch.setattr(packages, "metadata", lambda _: type("M", (), {"get_all": lambda *_: ["serve"]})())
    found = examine(str(model_folder))
    assert found.ready and found.missing[0].optional


def test_a_package_that_is_not_installed_has_no_version(model_folder, monkeypatch):
    """What is absent is None in JSON and said in words in the lines."""

    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(packages, "version", absent)
    found = examine(str(model_folder))
    assert found.to_json()["versions"]["chromadb"] is None
    assert "chromadb 未安装 missing" in found.lines[0]


def test_a_model_to_be_downloaded_comes_with_the_command():
    """A hub model that is not here is missing, with the command that fetches it."""
    found = examine("Qwen/Qwen2.5-0.5B-Instruct")
    assert not found.ready
    assert [each.remedy for each in found.missing] == ["qwen-allinone pull Qwen/Qwen2.5-0.5B-Instruct"]


def test_looking_needs_no_torch():
    """The environment is described where torch cannot be imported, and says so."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from qwen_allinone.cli.environment import Environment\n"
        "found = Environment.from_model_name('bundled')\n"
        "print(found.devices.cpu_threads, any('cannot be imported' in line for line in found.lines))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "True"]
