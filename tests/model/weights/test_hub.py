"""Getting models from a hub that runs on this machine."""

import errno
import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from fake_hub import MODEL_FILES, FakeHub, Repository
from huggingface_hub import constants

from qwen_allinone import hub_cache
from qwen_allinone.errors import InputError, ModelNotFoundError, RunError, ServerError
from qwen_allinone.model import SharedQwen
from qwen_allinone.model.weights import hub

NAME = "Tiny/Qwen-Instruct"
WEIGHTS = "model.safetensors"


@pytest.fixture
def fake(model_folder, tmp_path, monkeypatch):
    """A hub with one tiny model, which this process uses with a cache of the test's own."""
    with FakeHub({NAME: Repository.from_folder(model_folder)}).serving() as server:
        server.use(monkeypatch, tmp_path)
        monkeypatch.setattr("time.sleep", lambda _: None)
        yield server


def refused(kind: type[Exception], name: str = NAME, **options) -> str:
    """The one line with which a pull is refused; nothing is listed after it."""
    with pytest.raises(kind) as caught:
        hub.pull(name, **options)
    assert "\n" not in str(caught.value)
    assert hub_cache.cached_models() == [] and hub_cache.find_folder(name) is None
    return str(caught.value)


def with_config(repository: Repository, **fields) -> None:
    """Set fields of the configuration."""
    repository.files["config.json"] = json.dumps(json.loads(repository.files["config.json"]) | fields).encode()


def test_a_pulled_model_is_loaded_under_its_name_without_the_hub(fake, models):
    """What was pulled is all there, the same weights, and is found in the cache while the hub is down."""
    pulled = hub.pull(NAME)
    assert pulled.name == NAME and pulled.is_chat
    assert pulled.parameters == models["qwen2-tied"].num_parameters()
    fake.status = 503
    asked = len(fake.asked)
    loaded = SharedQwen.load(NAME)
    assert loaded.name == NAME
    assert all(map(torch.equal, loaded.local.model.parameters(), models["qwen2-tied"].parameters()))
    assert len(fake.asked) == asked


def test_only_safetensors_and_text_are_taken(fake):
    """Neither a pickle nor code nor what lies in subfolders is asked for, and the weights come last."""
    pulled = hub.pull(NAME)
    assert {path.name for path in pulled.folder.iterdir()} == set(MODEL_FILES)
    assert set(fake.downloads()) == set(MODEL_FILES)
    assert (fake.downloads()[0], fake.downloads()[-1]) == ("config.json", WEIGHTS)


def test_progress_ends_at_all_bytes(fake):
    """The bytes that are here only grow, up to the size of all files."""
    steps = []
    hub.pull(NAME, progress=lambda done, total: steps.append((done, total)))
    files = fake.repositories[NAME].files
    total = sum(len(files[name]) for name in MODEL_FILES)
    assert steps[-1] == (total, total)
    assert steps == sorted(steps)


def test_a_second_pull_transfers_nothing(fake):
    """A model that is up to date is not sent again, and its files count as here."""
    hub.pull(NAME)
    fake.asked.clear()
    steps = []
    hub.pull(NAME, progress=lambda done, total: steps.append((done, total)))
    assert fake.downloads() == [] and steps[-1][0] == steps[-1][1] > 0


def test_a_pull_brings_a_model_up_to_date(fake):
    """A newer commit is what the name stands for after a pull; the earlier one stays under its commit."""
    hub.pull(NAME)
    repository = fake.repositories[NAME]
    repository.commit = "2" * 40
    with_config(repository, bos_token_id=1)
    fake.asked.clear()
    pulled = hub.pull(NAME)
    assert pulled.folder.name == "2" * 40 and fake.downloads() == ["config.json"]
    assert [model.name for model in hub_cache.cached_models()] == [NAME, f"{NAME}@{'1' * 40}"]


def test_a_revision_has_a_name_of_its_own(fake):
    """A tag is loaded as ``name@revision``, and the name alone does not stand for it."""
    fake.repositories[NAME].revisions = ("main", "v1.0")
    pulled = hub.pull(NAME, revision="v1.0")
    assert pulled.name == f"{NAME}@v1.0"
    assert SharedQwen.load(pulled.name).generate("你好", max_new_tokens=1).completion_tokens <= 1
    assert hub_cache.find_folder(NAME) is None
    assert hub.pull(f"{NAME}@v1.0") == pulled


def test_after_an_interruption_whole_files_are_kept(fake, tmp_path):
    """A pull that breaks off is not listed and leaves nothing of the weights; the next one gets only these."""
    fake.breaks_off = True
    assert "cannot be reached" in refused(ServerError)
    assert list(tmp_path.rglob("*.incomplete")) == []
    fake.breaks_off = False
    fake.asked.clear()
    steps = []
    pulled = hub.pull(NAME, progress=lambda done, total: steps.append((done, total)))
    assert fake.downloads() == [WEIGHTS] and steps[-1][0] == steps[-1][1]
    assert (pulled.folder / WEIGHTS).read_bytes() == fake.repositories[NAME].files[WEIGHTS]


def test_an_update_that_breaks_off_leaves_the_model_as_it_was(fake):
    """The name stands for the earlier commit until all files of the newer one are here."""
    earlier = hub.pull(NAME)
    repository = fake.repositories[NAME]
    repository.commit = "2" * 40
    repository.files[WEIGHTS] += b"newer"
    fake.breaks_off = True
    with pytest.raises(ServerError):
        hub.pull(NAME)
    assert hub_cache.cached_models() == [earlier] and hub_cache.find_folder(NAME) == earlier.folder


@pytest.mark.parametrize("bars", [1, 2])
def test_bytes_that_are_received_and_written_count_once(bars):
    """Files from Xet storage have two bars: the one that is ahead counts, and never beyond all bytes."""
    steps = []
    kind = hub._bar(lambda done, total: steps.append((done, total)), done=10, total=100)
    shown = [kind(total=90, unit="B") for _ in range(bars)]
    for count in (30, 50, 20):
        for bar in shown:
            bar.update(count)
    assert steps == sorted(steps) and set(steps) == {(40, 100), (90, 100), (100, 100)}


def test_ctrl_c_leaves_nothing_registered(fake, tmp_path):
    """A pull that is stopped amid the weights is not listed and leaves nothing of them; the next one is whole."""
    size = len(fake.repositories[NAME].files[WEIGHTS])

    def stop(done: int, total: int) -> None:
        if done > total - size:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hub.pull(NAME, progress=stop)
    assert hub_cache.cached_models() == [] and hub_cache.find_folder(NAME) is None
    assert list(tmp_path.rglob("*.incomplete")) == []
    assert hub.pull(NAME).name == NAME


@pytest.mark.parametrize(
    "name",
    [
        *("../../etc", "../etc", "", " ", "gpt2", "a/b/c", "/etc/passwd", "bundled", "https://huggingface.co/a/b"),
        *("a/b@../../x", "a/b@/etc", "a/b@", "模型/一", "\0", "a/b\n", "-a/b", "x" * 5000),
    ],
)
def test_a_name_that_is_none_is_refused_without_asking(fake, name):
    """Paths, URLs and nonsense are no names on the hub, and nothing is asked or written."""
    assert "is no name on the hub; give owner/name" in refused(ModelNotFoundError, name).replace("\\n", "")
    assert fake.asked == []


@pytest.mark.usefixtures("fake")
def test_unknown_names_and_revisions_are_told():
    """The message says what is not there, and what to check."""
    assert "has no model 'Tiny/Nothing'; check the spelling" in refused(ModelNotFoundError, "Tiny/Nothing")
    assert f"{NAME} has no revision 'v9'" in refused(ModelNotFoundError, revision="v9")
    assert "no model 'a/b--c' on the hub" in refused(ModelNotFoundError, "a/b--c")


def test_a_gated_model_says_where_its_terms_are(fake):
    """The remedy is the page of the terms, and the command to log in."""
    fake.repositories[NAME].gated = True
    told = refused(ModelNotFoundError)
    assert f"{fake.url}/{NAME}" in told and "hf auth login" in told


def test_a_token_that_is_refused_is_told(fake):
    """It is not the server that has to get well."""
    fake.status = 403
    assert "renew the token: hf auth login" in refused(ModelNotFoundError)


def test_the_token_is_sent_to_the_hub(fake, monkeypatch):
    """Each request for a private model bears the token of the environment."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.pull(NAME)
    assert set(fake.tokens) == {"Bearer hf_secret"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, "its architecture is LlamaForCausalLM"),
        ({"architectures": ["Qwen2ForSequenceClassification"]}, "Qwen2ForSequenceClassification (qwen2)"),
        ({"model_type": "qwen2_vl", "architectures": ["Qwen2VLForConditionalGeneration"]}, "(qwen2_vl)"),
        ({"model_type": "qwen99", "architectures": ["Qwen99ForCausalLM"]}, "pip install -U transformers"),
        ({"quantization_config": {"quant_method": "awq"}}, "its weights are quantized"),
        ({"architectures": None}, "its architecture is none"),
    ],
)
def test_what_cannot_be_loaded_is_refused_before_its_weights_come(fake, fields, words):
    """The configuration is looked at first."""
    with_config(fake.repositories[NAME], **fields)
    assert words in refused(ModelNotFoundError)
    assert fake.downloads() == ["config.json"]


@pytest.mark.parametrize("part", ["config.json", "tokenizer.json", WEIGHTS])
def test_a_repository_that_lacks_a_part_is_refused(fake, part):
    """Among them those that have pickled weights only; nothing at all is sent."""
    del fake.repositories[NAME].files[part]
    assert f"lacks {part}" in refused(ModelNotFoundError)
    assert fake.downloads() == []


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff"])
def test_a_broken_configuration_is_refused(fake, content):
    """One line, whatever the content of the file is."""
    fake.repositories[NAME].files["config.json"] = content
    refused(ServerError)


def test_weights_in_several_files(fake):
    """All files that an index names are taken, and no others; one that is missing is told."""
    files = fake.repositories[NAME].files
    shard = "model-00001-of-00001.safetensors"
    files[shard] = files.pop(WEIGHTS)
    files["consolidated.safetensors"] = b"unwanted"
    files[hub_cache.INDEX] = json.dumps({"weight_map": {"a": "../secret.safetensors", "b": shard}}).encode()
    assert "lacks ../secret.safetensors" in refused(ModelNotFoundError)
    fake.repositories[NAME].commit = "2" * 40
    files[hub_cache.INDEX] = json.dumps({"weight_map": {"b": shard}}).encode()
    pulled = hub.pull(NAME)
    assert {path.name for path in pulled.folder.glob("*.safetensors")} == {shard}


def test_weights_that_are_no_safetensors_are_not_listed(fake):
    """A pickle under the name of safetensors is told when it is here."""
    fake.repositories[NAME].files[WEIGHTS] = b"\x80\x04pickle"
    assert "has a file that cannot be read" in refused_but_present()


def refused_but_present() -> str:
    """The one line with which a model is refused whose files are all here."""
    with pytest.raises(ModelNotFoundError) as caught:
        hub.pull(NAME)
    assert hub_cache.cached_models() == []
    return str(caught.value)


def test_a_hub_that_is_down_is_told(fake, monkeypatch):
    """No answer, an error of the server and an answer of something else are one line each, with a remedy."""
    fake.status = 503
    assert "answered with HTTP 503; try again later" in refused(ServerError)
    fake.status = 200
    assert "returned an invalid response" in refused(ServerError)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "set HF_ENDPOINT to a mirror" in refused(ServerError)


def test_offline_is_offline(fake, monkeypatch):
    """Where the hub is not to be asked, it is not."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refused(InputError)
    assert fake.asked == []


@pytest.mark.filterwarnings("ignore:Not enough free disk space")
def test_a_full_disk_is_told_before_the_weights_come(fake, monkeypatch):
    """Space is compared with what is still to come of them."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    assert "MB left; free some, or set HF_HOME" in refused(RunError)
    assert WEIGHTS not in fake.downloads()


def test_a_disk_that_is_full_by_then_is_told(fake):
    """The error of the disk is told with its remedy."""

    def full(_done: int, _total: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    assert "No space left on device); free space, or set HF_HOME" in refused(RunError, progress=full)
    assert WEIGHTS not in fake.downloads()


@pytest.mark.usefixtures("fake")
def test_a_cache_that_cannot_be_written_is_told(tmp_path):
    """The remedy is another folder."""
    (tmp_path / "hub").write_text("a file", encoding="utf-8")
    assert "set HF_HOME to another folder" in refused(RunError)
