"""A new model decides as the bag of words does, before any training."""

import copy
from pathlib import Path

import pytest
import torch
from transformers import Qwen2ForCausalLM

from qwen_allinone.model import SharedQwen
from qwen_allinone.model.chatml import Message
from tests.training.conftest import LABELS, QUESTION
from training.initialisation import constructed_weights, decision_layers, grow, is_grown, language_weights


@pytest.mark.parametrize("label", LABELS)
def test_a_text_goes_to_the_label_around_which_its_words_lie(fresh: SharedQwen, label: str) -> None:
    """Though other labels stand nearer to the answer, in the question."""
    assert fresh.decide(LABELS[label], QUESTION)["label"].option == label


@pytest.mark.parametrize("label", LABELS)
def test_what_others_said_counts_for_little(fresh: SharedQwen, label: str) -> None:
    """The assistant's words are hardly looked at; the user's are."""
    other = next(each for each in LABELS if each != label)
    history = [Message("user", "hm"), Message("assistant", " ".join([LABELS[other]] * 4))]
    assert fresh.decide(LABELS[label], QUESTION, history=history)["label"].option == label


def test_what_is_not_constructed_changes_nothing(fresh: SharedQwen) -> None:
    """All other parts write zeros until they are trained."""
    text = LABELS["music"]
    before = fresh.likelihoods(text, QUESTION)["label"]
    with torch.no_grad():
        for layer in fresh.model.model.layers:
            layer.mlp.up_proj.weight.mul_(3)
        first = fresh.model.model.layers[0].self_attn
        first.v_proj.weight[first.head_dim :].mul_(3)
    fresh.forget()
    assert fresh.likelihoods(text, QUESTION)["label"] == pytest.approx(before)


def test_a_model_that_has_grown_decides_as_before(fresh: SharedQwen) -> None:
    """The new layers write nothing yet, and the new output layer is the embedding's copy."""
    grown = copy.deepcopy(fresh.model)
    grow(grown)
    again = SharedQwen(grown, fresh.tokenizer, capabilities=fresh.capabilities)
    for text in LABELS.values():
        assert again.likelihoods(text, QUESTION)["label"] == pytest.approx(fresh.likelihoods(text, QUESTION)["label"])
    assert len(grown.model.layers) == len(fresh.model.model.layers) + 2
    assert again.write("hello", max_new_tokens=2).new_tokens == 2


def test_a_model_that_has_grown_decides_after_the_layers_it_had(fresh: SharedQwen) -> None:
    """Whatever the others have learned."""
    grown = copy.deepcopy(fresh.model)
    assert decision_layers(grown) is None
    grow(grown)
    with torch.no_grad():
        for layer in grown.model.layers[-2:]:
            torch.nn.init.normal_(layer.mlp.down_proj.weight)
        grown.lm_head.weight.normal_()
    deciding = fresh.capabilities.model_copy(update={"decision_layers": decision_layers(grown)})
    again = SharedQwen(grown, fresh.tokenizer, capabilities=deciding)
    for text in LABELS.values():
        assert again.likelihoods(text, QUESTION)["label"] == pytest.approx(fresh.likelihoods(text, QUESTION)["label"])


def test_a_model_that_has_grown_is_saved_with_its_output_layer(fresh: SharedQwen, tmp_path: Path) -> None:
    """The output layer is no longer the embedding."""
    grown = copy.deepcopy(fresh.model)
    grow(grown)
    with torch.no_grad():
        grown.lm_head.weight.mul_(2)
    grown.save_pretrained(tmp_path)
    loaded = Qwen2ForCausalLM.from_pretrained(tmp_path)
    assert is_grown(loaded.config)
    assert torch.equal(loaded.lm_head.weight, grown.lm_head.weight)
    assert torch.equal(loaded.get_input_embeddings().weight, grown.get_input_embeddings().weight)


def test_what_replies_move_is_only_what_was_added(fresh: SharedQwen) -> None:
    """The constructed weights stay the same."""
    grown = copy.deepcopy(fresh.model)
    before = {id(weight) for weight in constructed_weights(grown)}
    assert not language_weights(grown)
    old = {id(weight) for weight in grown.parameters()}
    grow(grown)
    language = {id(weight) for weight in language_weights(grown)}
    assert {id(weight) for weight in constructed_weights(grown)} == before
    assert not language & old
    assert language | old == {id(weight) for weight in grown.parameters()}
