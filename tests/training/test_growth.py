"""A model that has grown decides as before, and can copy."""

import copy
from pathlib import Path

import pytest
import torch
from transformers import Qwen2ForCausalLM

from qwen_allinone.model import SharedQwen
from tests.training.conftest import LABELS, QUESTION
from training import growth


@pytest.fixture(scope="module")
def grown(fresh: SharedQwen) -> Qwen2ForCausalLM:
    """The new model, grown."""
    return growth.grown(fresh.model)


@pytest.fixture
def ids() -> torch.Tensor:
    """Forty words, of which ten are said again."""
    words = torch.randperm(14_000, generator=torch.Generator().manual_seed(2))[:40]
    return torch.cat([words, words[20:30]])[None]


def test_it_decides_as_before(fresh: SharedQwen, grown: Qwen2ForCausalLM) -> None:
    """After the layers that decided before it grew, whatever the others have learned."""
    changed = copy.deepcopy(grown)
    with torch.no_grad():
        for weight in growth.language_weights(changed):
            weight.add_(0.1 * torch.randn_like(weight))
    deciding = fresh.capabilities.model_copy(update={"decision_layers": len(fresh.model.model.layers)})
    again = SharedQwen(changed, fresh.tokenizer, capabilities=deciding)
    for text in LABELS.values():
        assert again.likelihoods(text, QUESTION)["label"] == pytest.approx(fresh.likelihoods(text, QUESTION)["label"])


def test_it_goes_on_as_what_was_said_before_went_on(grown: Qwen2ForCausalLM, ids: torch.Tensor) -> None:
    """By the codes alone, without any training: of the words said so far, the next one is passed on."""
    codes = grown.lm_head.weight - grown.get_input_embeddings().weight
    with torch.no_grad():
        follows = (grown.model(ids).last_hidden_state[0, 40:] @ codes[ids[0, :40]].T).argmax(1)
    assert follows.eq(torch.arange(21, 31)).float().mean() >= 0.9


def test_it_is_saved_with_its_output_layer(grown: Qwen2ForCausalLM, tmp_path: Path) -> None:
    """Which is no longer the embedding."""
    grown.save_pretrained(tmp_path)
    loaded = Qwen2ForCausalLM.from_pretrained(tmp_path)
    assert growth.language_layers(loaded) == growth.language_layers(grown) > 0
    assert torch.equal(loaded.lm_head.weight, grown.lm_head.weight)
    assert torch.equal(loaded.get_input_embeddings().weight, grown.get_input_embeddings().weight)


def test_what_is_trained_for_replies_is_what_was_added(fresh: SharedQwen, grown: Qwen2ForCausalLM) -> None:
    """Layers and output layer; of what decides nothing, nor was it changed."""
    assert not growth.language_weights(fresh.model)
    added = {id(weight) for weight in growth.language_weights(grown)}
    old = dict(fresh.model.named_parameters())
    rest = {name: weight for name, weight in grown.named_parameters() if id(weight) not in added}
    assert rest.keys() == old.keys()
    assert all(torch.equal(weight, old[name]) for name, weight in rest.items())
