"""Tiny models of the Qwen shapes and their tokenizer, made in seconds; nothing is downloaded."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_qwen import ARCHITECTURES, HYBRID, PLAIN_ADDED_TOKENS, SENTENCES, SHAPE, SPECIAL_TOKENS, lessons
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
    Qwen3_5ForCausalLM,
    Qwen3_5TextConfig,
)

from qwen_allinone.model import SharedQwen

torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of the tests' own, which all of their processes share."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if os.environ.get("PYTEST_XDIST_WORKER") else own) / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QWEN_ALLINONE_CACHE", str(folder))
        patch.setenv("QWEN_ALLINONE_HOME", str(own / "home"))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def default_model() -> Iterator[None]:
    """The bundled model by default, whatever was pulled on this machine; a model that the environment names stays."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QWEN_ALLINONE_MODEL", os.environ.get("QWEN_ALLINONE_MODEL") or "bundled")
        yield


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    """A byte-level tokenizer of the Qwen2 class, trained on a few sentences."""
    trained = Tokenizer(BPE())
    trained.normalizer = normalizers.NFC()
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trained.train_from_iterator(
        SENTENCES, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    )
    parts = json.loads(trained.to_str())["model"]
    made = Qwen2Tokenizer(
        vocab=parts["vocab"],
        merges=[tuple(pair) for pair in parts["merges"]],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token=None,
    )
    made.add_tokens([AddedToken(token, normalized=False) for token in SPECIAL_TOKENS], special_tokens=True)
    made.add_tokens([AddedToken(token, normalized=False) for token in PLAIN_ADDED_TOKENS])
    return made


@pytest.fixture(scope="session")
def models(tokenizer: PreTrainedTokenizerBase) -> dict[str, PreTrainedModel]:
    """One random tiny model per architecture."""
    made = {}
    for name, make in ARCHITECTURES.items():
        torch.manual_seed(20)
        made[name] = make(len(tokenizer)).eval()
    return made


@pytest.fixture(params=sorted(ARCHITECTURES), scope="session")
def any_qwen(request, models: dict[str, PreTrainedModel], tokenizer: PreTrainedTokenizerBase) -> SharedQwen:
    """A random model of each architecture in turn."""
    return SharedQwen.from_model(models[request.param], tokenizer)


@pytest.fixture(scope="session")
def qwen(models: dict[str, PreTrainedModel], tokenizer: PreTrainedTokenizerBase) -> SharedQwen:
    """A random Qwen2."""
    return SharedQwen.from_model(models["qwen2"], tokenizer)


@pytest.fixture
def hybrid(tokenizer) -> SharedQwen:
    """A random Qwen3.5: every other layer remembers a summary of what it read, and nothing that could be cut."""
    torch.manual_seed(22)
    return SharedQwen.from_model(
        Qwen3_5ForCausalLM(Qwen3_5TextConfig(**HYBRID, vocab_size=len(tokenizer))).eval(), tokenizer
    )


@pytest.fixture(scope="session")
def trained_model(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """A tiny Qwen2 that has learnt ``REPLIES`` and ``MOODS`` by heart."""
    torch.manual_seed(21)
    model = Qwen2ForCausalLM(Qwen2Config(**SHAPE, vocab_size=len(tokenizer), tie_word_embeddings=False))
    rows = lessons(SharedQwen.from_model(model, tokenizer))
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids, _ in rows])
    labels = torch.tensor([[*[-100] * start, *ids[start:], *[-100] * (width - len(ids))] for ids, start in rows])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    model.train()
    for _ in range(300):
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if loss.item() < 0.01:
            break
    return model.requires_grad_(requires_grad=False).eval()


@pytest.fixture(scope="session")
def trained(trained_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> SharedQwen:
    """The trained tiny model, shared."""
    return SharedQwen.from_model(trained_model, tokenizer)


@pytest.fixture(scope="session")
def model_folder(
    tmp_path_factory: pytest.TempPathFactory,
    models: dict[str, PreTrainedModel],
    tokenizer: PreTrainedTokenizerBase,
) -> Path:
    """A tiny model as it lies on disk."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    models["qwen2-tied"].save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
