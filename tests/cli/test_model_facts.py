import json
import shutil

import pytest
from huggingface_hub import constants

from qwen_allinone.cli.model_facts import ModelFacts


@pytest.fixture
def folder(model_folder, tmp_path):
    """A model folder that a test may damage."""
    return shutil.copytree(model_folder, tmp_path / "model")


def edit(path, **fields):
    """Replace fields of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | fields), encoding="utf-8")


def test_a_folder_is_described_from_its_files(folder, models):
    """Architecture, parameters (tied ones once) and size are read without loading the weights."""
    found = ModelFacts.from_name(str(folder))
    assert found.loadable and found.problem is None and found.folder == str(folder.resolve())
    assert found.architecture == "Qwen2ForCausalLM"
    assert found.parameters == models["qwen2-tied"].num_parameters()
    assert found.bytes == (folder / "model.safetensors").stat().st_size
    assert f"{found.parameters:,}" in found.lines[1]


def test_an_unknown_name_is_unusable_and_not_an_exception():
    """What is wrong with a name stands in the answer."""
    found = ModelFacts.from_name("nonsense")
    assert found.state == "unusable" and "no model 'nonsense'" in found.problem and found.problem in found.lines[-1]


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "lacks tokenizer.json"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"not weights"), "header"),
        (lambda folder: (folder / "config.json").write_text("{", encoding="utf-8"), "Expecting property name"),
        (lambda folder: (folder / "config.json").write_text("{}", encoding="utf-8"), "names no model_type"),
        (lambda folder: edit(folder / "config.json", model_type="qwen99"), "does not know 'qwen99'"),
        (lambda folder: edit(folder / "tokenizer.json", added_tokens=[]), "not of the Qwen family"),
        (
            lambda folder: (folder / "model.safetensors.index.json").write_text(
                json.dumps({"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}), encoding="utf-8"
            ),
            "weights are missing: model-2.safetensors",
        ),
        (lambda folder: (folder / "model.safetensors.index.json").write_text("{}", encoding="utf-8"), "weight_map"),
        (lambda folder: (folder / "tokenizer.json").write_text("[]", encoding="utf-8"), "unexpected shape"),
    ],
    ids=[
        "no tokenizer",
        "broken weights",
        "broken config",
        "empty config",
        "unknown type",
        "foreign",
        "shard missing",
        "index of nothing",
        "no tokenizer at all",
    ],
)
def test_a_damaged_folder_is_unusable_for_its_reason(folder, damage, problem):
    """Each kind of damage is named in one line."""
    damage(folder)
    found = ModelFacts.from_name(str(folder))
    assert not found.loadable and problem in found.problem and "\n" not in found.problem


def test_a_hub_model_that_was_never_downloaded_is_told(tmp_path, monkeypatch):
    """A hub id is looked up in the local cache, and nothing is asked of the network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    found = ModelFacts.from_name("Qwen/Qwen2.5-0.5B-Instruct")
    assert found.state == "not downloaded" and not found.loadable and found.folder is None


def test_a_hub_model_in_the_cache_is_described(model_folder, tmp_path, monkeypatch):
    """A downloaded model is described from its snapshot."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--Tiny--qwen"
    snapshot = repository / "snapshots" / ("0" * 40)
    shutil.copytree(model_folder, snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40, encoding="utf-8")
    found = ModelFacts.from_name("Tiny/qwen")
    assert found.loadable and found.folder == str(snapshot.resolve()) and found.architecture == "Qwen2ForCausalLM"


def test_a_name_that_is_no_hub_id_is_unusable():
    """What the hub's own rules refuse is an answer too."""
    found = ModelFacts.from_name("Qwen/a--b")
    assert found.state == "unusable" and "no model 'Qwen/a--b'" in found.problem


def test_a_model_on_a_server_is_not_looked_for_on_disk():
    """Its URL is all that is known here; one that is none is told so."""
    facts = ModelFacts.from_name("http://127.0.0.1:9/v1#m")
    assert (facts.state, facts.loadable, facts.folder) == ("on a server", True, None)
    assert ModelFacts.from_name("http://127.0.0.1:port/v1").state == "unusable"
