"""What lies in the cache of the hub, and which model of it is the default."""

import json
import shutil
import time
from pathlib import Path

import pytest
from huggingface_hub import constants

from qwen_allinone import hub_cache, settings
from qwen_allinone.errors import ModelNotFoundError

COMMIT = "1" * 40


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache, and no model in the environment."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("QWEN_ALLINONE_MODEL", raising=False)
    return tmp_path


@pytest.fixture
def add(cache, model_folder):
    """A function that puts a copy of the tiny model into the cache."""

    def put(name: str, *, parameters: int | None = None, end: str = "<|im_end|>", commit: str = COMMIT) -> Path:
        repository = cache / f"models--{name.replace('/', '--')}"
        folder = repository / "snapshots" / commit
        shutil.copytree(model_folder, folder)
        edit(folder / "tokenizer_config.json", eos_token=end)
        if parameters is not None:
            write_weights(folder / "model.safetensors", parameters)
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / "main").write_text(commit, encoding="utf-8")
        return folder

    return put


def edit(path: Path, **fields) -> None:
    """Set fields of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | fields), encoding="utf-8")


def write_weights(path: Path, parameters: int) -> None:
    """A file of safetensors of any size, whose bytes take no room on the disk."""
    header = json.dumps({"w": {"dtype": "BF16", "shape": [parameters], "data_offsets": [0, 2 * parameters]}}).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 2 * parameters)


def names() -> list[str]:
    """Names of the models in the cache."""
    return [model.name for model in hub_cache.cached_models()]


def test_an_empty_or_missing_cache_has_no_models(cache, monkeypatch):
    """Neither is an error, and the bundled model is the default."""
    assert names() == [] and settings.model_name() == "bundled"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache / "none"))
    assert names() == [] and settings.model_name() == "bundled"


def test_a_model_is_described_from_its_files(add, models):
    """Name, folder, number of weights and size, without loading it."""
    folder = add("Tiny/Qwen-Instruct")
    (found,) = hub_cache.cached_models()
    assert (found.name, found.folder, found.is_chat) == ("Tiny/Qwen-Instruct", folder, True)
    assert found.parameters == models["qwen2-tied"].num_parameters()
    assert found.bytes == (folder / "model.safetensors").stat().st_size
    assert hub_cache.find_folder("Tiny/Qwen-Instruct") == folder


@pytest.mark.parametrize("part", ["config.json", "tokenizer.json", "model.safetensors"])
def test_half_a_model_is_not_there(add, part):
    """What lacks a part is neither listed nor found, nor the default."""
    (add("Tiny/qwen") / part).unlink()
    assert names() == [] and hub_cache.find_folder("Tiny/qwen") is None and settings.model_name() == "bundled"


def test_a_shard_that_is_missing_makes_half_a_model(add):
    """All files of the index must be there."""
    folder = add("Tiny/qwen")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model.safetensors", "b": "b.safetensors"}}), encoding="utf-8")
    assert names() == [] and hub_cache.find_folder("Tiny/qwen") is None
    write_weights(folder / "b.safetensors", 10)
    assert names() == ["Tiny/qwen"] and hub_cache.find_folder("Tiny/qwen") == folder


@pytest.mark.parametrize("content", [b"", b"no weights", b"\xff" * 100, b"\x02" + b"\0" * 7 + b"[]"])
def test_broken_weights_are_not_listed(add, content):
    """Neither a pickle nor a file that is cut short."""
    folder = add("Tiny/qwen")
    (folder / "model.safetensors").write_bytes(content)
    assert names() == []
    with pytest.raises(ModelNotFoundError, match="Tiny/qwen"):
        hub_cache.ModelFiles.from_folder(folder, name="Tiny/qwen")


@pytest.mark.parametrize("part", ["config.json", "tokenizer_config.json", "model.safetensors.index.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"{}", b'{"weight_map": [1]}'])
def test_broken_text_files_break_nothing(add, part, content):
    """A cache is written by others: whatever is in it, it can be listed."""
    folder = add("Tiny/qwen")
    (folder / part).write_bytes(content)
    expected = ["Tiny/qwen"] if part == "tokenizer_config.json" and content.startswith(b"{") and content != b"{" else []
    assert names() == expected
    hub_cache.find_folder("Tiny/qwen")


@pytest.mark.parametrize(
    ("fields", "listed"),
    [
        ({"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}, True),
        ({"model_type": "qwen3_moe", "architectures": ["Qwen3MoeForCausalLM"]}, True),
        ({"model_type": "qwen3_5", "architectures": ["Qwen3_5ForConditionalGeneration"]}, True),
        ({"model_type": "qwen2_5_vl", "architectures": ["Qwen2_5_VLForConditionalGeneration"]}, False),
        ({"model_type": "qwen2", "architectures": ["Qwen2ForRewardModel"]}, False),
        ({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, False),
        ({"quantization_config": {"quant_method": "gptq"}}, False),
        ({"architectures": []}, False),
    ],
)
def test_only_what_can_be_loaded_is_listed(add, fields, listed):
    """A Qwen that writes text, in weights of 16 or 32 bits."""
    edit(add("Tiny/qwen") / "config.json", **fields)
    assert bool(names()) is listed


def test_revisions_have_names_of_their_own(add, cache):
    """The main one goes by the name alone, the others and commits without a name behind an @."""
    add("Tiny/qwen", commit="1" * 40)
    add("Tiny/qwen", commit="2" * 40)
    add("Tiny/qwen", commit="3" * 40)
    references = cache / "models--Tiny--qwen" / "refs"
    (references / "pr").mkdir()
    (references / "pr" / "7").write_text("2" * 40, encoding="utf-8")
    (references / "gone").write_text("9" * 40, encoding="utf-8")
    (references / "odd").write_text("../../..", encoding="utf-8")
    assert names() == ["Tiny/qwen", "Tiny/qwen@pr/7", f"Tiny/qwen@{'1' * 40}"]
    for name in names():
        assert hub_cache.find_folder(name) is not None
    assert hub_cache.find_folder("Tiny/qwen@main").name == "3" * 40


@pytest.mark.parametrize("name", ["", "..", "../..", "a/b@../../c", "a/b/c", "bundled", "/etc", "a/b@", "\0", "a\0/b"])
@pytest.mark.usefixtures("cache")
def test_a_name_that_is_none_is_not_found(name):
    """Nothing outside the cache is looked at."""
    assert hub_cache.find_folder(name) is None


def test_the_environment_goes_before_what_was_pulled(add, monkeypatch):
    """``QWEN_ALLINONE_MODEL`` is the default where it is set; an empty one is none."""
    add("Tiny/Qwen-Instruct")
    assert settings.model_name() == "Tiny/Qwen-Instruct"
    monkeypatch.setenv("QWEN_ALLINONE_MODEL", "bundled")
    assert settings.model_name() == "bundled"
    monkeypatch.setenv("QWEN_ALLINONE_MODEL", "")
    assert settings.model_name() == "Tiny/Qwen-Instruct"


def test_the_largest_chat_model_of_the_2b_class_is_the_default(add):
    """A larger one, a base model and an embedding model are listed and have to be named."""
    add("Qwen/Qwen2.5-0.5B-Instruct", parameters=494_032_768)
    add("Qwen/Qwen2.5-1.5B-Instruct", parameters=1_543_714_304)
    add("Qwen/Qwen2.5-1.5B", parameters=1_543_714_305, end="<|endoftext|>")
    add("Qwen/Qwen2.5-7B-Instruct", parameters=7_615_616_512)
    add("Qwen/Qwen3-Embedding-2B", parameters=2_000_000_000)
    assert settings.model_name() == "Qwen/Qwen2.5-1.5B-Instruct"
    assert len(names()) == 5


def test_of_equals_the_first_by_name_is_the_default(add):
    """The choice does not depend on when something was pulled."""
    add("b/qwen")
    add("a/qwen")
    assert settings.model_name() == "a/qwen"


def test_a_base_model_alone_leaves_the_default_alone(add):
    """It does not answer in turns."""
    add("Qwen/base", end="<|endoftext|>")
    assert names() == ["Qwen/base"] and settings.model_name() == "bundled"


def test_looking_is_quick(add):
    """Twenty models are looked through in the time of a blink."""
    for number in range(20):
        add(f"Tiny/qwen-{number}", parameters=1000 + number)
    settings.model_name()
    begun = time.perf_counter()
    assert settings.model_name() == "Tiny/qwen-19"
    assert time.perf_counter() - begun < 0.5


def test_what_is_in_the_cache_for_other_purposes_is_left_alone(cache):
    """Data sets, files beside folders and repositories without an owner are no models."""
    for name in ("datasets--a--b", "models--gpt2", "models--a--b", ".locks"):
        (cache / name).mkdir()
    (cache / "models--c--d").write_text("a file", encoding="utf-8")
    (cache / "version.txt").write_text("1", encoding="utf-8")
    assert names() == []
