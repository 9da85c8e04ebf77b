import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from qwen_allinone.errors import InputError, ModelNotFoundError
from qwen_allinone.model import SharedQwen
from qwen_allinone.model.weights.loading import resolve


@pytest.fixture
def folder(model_folder, tmp_path) -> Path:
    """A copy of the tiny model that a test may break."""
    return Path(shutil.copytree(model_folder, tmp_path / "model"))


def refused(name: str, **options) -> str:
    """The one line with which a model is refused."""
    with pytest.raises(ModelNotFoundError) as caught:
        SharedQwen.load(name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_loads(model_folder, models):
    """What was saved comes back: the same weights in fp32, ready to read and write."""
    shared = SharedQwen.load(str(model_folder))
    saved = models["qwen2-tied"]
    assert all(map(torch.equal, shared.local.model.parameters(), saved.parameters()))
    assert {parameter.dtype for parameter in shared.local.model.parameters()} == {torch.float32}
    assert not shared.local.model.training
    assert shared.context_window == 1024
    assert shared.generate("你好", max_new_tokens=4).completion_tokens <= 4


def test_one_instance_per_process(model_folder, monkeypatch):
    """However a folder is spelt, and from however many threads, one set of weights is loaded."""
    first = SharedQwen.load(str(model_folder))
    monkeypatch.chdir(model_folder.parent)
    spellings = [f"{model_folder}/", "tiny", "./tiny", f"../{model_folder.parent.name}/tiny", str(model_folder)]
    with ThreadPoolExecutor(5) as threads:
        assert all(shared is first for shared in threads.map(SharedQwen.load, spellings))


def test_threads_that_load_at_once_load_once(folder):
    """The first call loads and the others wait for it."""
    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(SharedQwen.load, [str(folder)] * 8))) == 1


def test_two_folders_are_two_models(model_folder, folder):
    """Different folders are different models, each under its own name."""
    first, second = SharedQwen.load(str(model_folder)), SharedQwen.load(str(folder))
    assert first is not second
    assert (first.name, second.name) == (str(model_folder), str(folder))


def test_capabilities_come_with_the_folder(folder):
    """What the folder declares is what the shared model goes by."""
    (folder / "capabilities.json").write_text('{"layout": "instruction_first", "max_input_tokens": 32}')
    shared = SharedQwen.load(str(folder))
    assert (shared.capabilities.layout, shared.capabilities.max_input_tokens) == ("instruction_first", 32)


@pytest.mark.parametrize("part", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_part_is_named(folder, part):
    """A folder that lacks a part is refused, and the part is named."""
    (folder / part).unlink()
    assert f"lacks {part.replace('model.', '*.')}; allowed: 'bundled'" in refused(str(folder))


def test_an_empty_folder_lacks_everything(tmp_path):
    """All missing parts are named at once."""
    assert "lacks config.json, tokenizer.json, *.safetensors" in refused(str(tmp_path))


def test_pickled_weights_are_refused(folder):
    """Weights in a pickle are not opened, whatever they are called."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    assert "lacks *.safetensors" in refused(str(folder))
    (folder / "other.safetensors").touch()
    assert "cannot be loaded" in refused(str(folder))


@pytest.mark.parametrize("size", [0, 7, 2000])
def test_truncated_weights_are_refused(folder, size):
    """A download that broke off is refused."""
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])
    assert str(folder) in refused(str(folder))


def test_missing_weights_are_named(folder):
    """A model never runs with weights that were made up: what is missing is named."""
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "lacks weights: model.layers.1.mlp.up_proj.weight" in refused(str(folder))


def test_weights_of_another_shape_are_refused(folder):
    """Weights that do not fit the configuration are refused."""
    change(folder / "config.json", intermediate_size=64)
    assert "cannot be loaded" in refused(str(folder))


@pytest.mark.parametrize("part", ["config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff\xfe\x00"])
def test_broken_files_are_refused(folder, part, content):
    """A file that is empty, cut off, or something else is refused in one line, if the model cannot do without it."""
    (folder / part).write_bytes(content)
    if (part, content) == ("tokenizer_config.json", b"{}"):
        assert SharedQwen.load(str(folder)).chat.stop_ids
    else:
        assert refused(str(folder))


def test_a_model_of_another_kind_is_refused(folder):
    """A configuration of an architecture that writes no text is refused."""
    change(folder / "config.json", model_type="vit", architectures=["ViTModel"])
    assert "cannot be loaded" in refused(str(folder))


def test_a_tokenizer_larger_than_the_model_is_refused(folder, tokenizer):
    """Token ids that the weights have no row for are refused at loading and do not crash a request."""
    larger = type(tokenizer).from_pretrained(folder)
    larger.add_tokens([f"<extra_{number}>" for number in range(5)])
    larger.save_pretrained(folder)
    assert "412" in refused(str(folder))


@pytest.mark.parametrize("where", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("model_type", ["qwen2", "unheard_of"])
def test_code_from_a_folder_is_never_run(folder, where, model_type):
    """A folder that brings its own Python files loads without them or not at all."""
    marker = folder / "was_run"
    code = f"from pathlib import Path\nPath({str(marker)!r}).touch()\n"
    for module in ("custom", "configuration_custom", "modeling_custom", "tokenization_custom"):
        (folder / f"{module}.py").write_text(code)
    maps = {
        "AutoConfig": "configuration_custom.CustomConfig",
        "AutoModelForCausalLM": "modeling_custom.CustomModel",
        "AutoTokenizer": ["tokenization_custom.CustomTokenizer", "tokenization_custom.CustomTokenizer"],
    }
    change(folder / where, auto_map=maps)
    change(folder / "config.json", model_type=model_type)
    change(folder / "tokenizer_config.json", tokenizer_class="CustomTokenizer")
    try:
        SharedQwen.load(str(folder))
    except ModelNotFoundError as error:
        assert "\n" not in str(error)
    assert not marker.exists()


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "no such model", "gpt2", "../nowhere", "/no/such/folder", "a/b/c", "~nobody-by-this-name/x"),
        *("Qwen/../etc", "模型", "https://example.com/model", "\0", "-/x", "./Qwen/Qwen2.5-0.5B-Instruct", "x" * 5000),
    ],
)
def test_nonsense_is_refused_without_the_network(name, monkeypatch):
    """A name that is neither a folder nor a hub id is refused at once, with what is allowed."""
    monkeypatch.chdir(Path(__file__).parent)
    with pytest.raises(ModelNotFoundError, match="allowed: 'bundled', a folder with"):
        resolve(name)


def test_a_file_is_no_model(folder):
    """The weights' file itself is not a model's name."""
    assert "no model" in refused(str(folder / "model.safetensors"))


def test_a_hub_id_that_is_not_here_stays_what_it_is(monkeypatch, tmp_path):
    """An id of the hub is left for the hub; one at a revision is to be pulled first."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert resolve("Qwen/Qwen2.5-0.5B-Instruct") == "Qwen/Qwen2.5-0.5B-Instruct"
    with pytest.raises(ModelNotFoundError, match=r"qwen-allinone pull Qwen/Qwen3-0\.6B --revision v1"):
        resolve("Qwen/Qwen3-0.6B@v1")


def test_a_hub_id_without_network_is_refused_quickly(monkeypatch, tmp_path):
    """Offline, an id that was never downloaded is refused in seconds and one line."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    begun = time.monotonic()
    assert "'Qwen/never-downloaded' cannot be loaded" in refused("Qwen/never-downloaded")
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("device", ["no-such-device", "cuda:99", ""])
def test_a_device_that_is_not_there_is_refused(folder, device):
    """A device that torch does not know or have is refused in one line."""
    with pytest.raises(InputError, match="device") as caught:
        SharedQwen.load(str(folder), device=device)
    assert "\n" not in str(caught.value)


def change(path: Path, **fields) -> None:
    """Set fields of a JSON file."""
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | fields), encoding="utf-8")
