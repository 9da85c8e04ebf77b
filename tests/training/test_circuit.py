"""A new model decides as the bag of tokens does, before any training."""

import copy
from pathlib import Path

import pytest
import torch
from transformers import Qwen2ForCausalLM

from qwen_allinone.model import SharedQwen
from qwen_allinone.model.capabilities import Capabilities
from qwen_allinone.model.chatml import Message
from tests.training.conftest import LABELS, QUESTION
from training.circuit import language_weights, weights


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


def test_what_is_not_part_of_the_circuit_changes_nothing(fresh: SharedQwen) -> None:
    """Its parts write zeros until they are trained."""
    text = LABELS["music"]
    before = fresh.likelihoods(text, QUESTION)["label"]
    with torch.no_grad():
        for layer in fresh.model.model.layers:
            layer.mlp.up_proj.weight.mul_(3)
        first = fresh.model.model.layers[0].self_attn
        first.v_proj.weight[first.head_dim :].mul_(3)
    fresh.forget()
    assert fresh.likelihoods(text, QUESTION)["label"] == pytest.approx(before)


def test_a_new_model_would_write_what_it_decides(fresh: SharedQwen) -> None:
    """The layers behind the decisions write nothing yet, and the output layer is a copy of the embedding."""
    whole = SharedQwen(fresh.model, fresh.tokenizer, capabilities=Capabilities(layout="text_first", per_token=True))
    for text in LABELS.values():
        assert whole.likelihoods(text, QUESTION)["label"] == pytest.approx(fresh.likelihoods(text, QUESTION)["label"])
    assert whole.write("hello", max_new_tokens=2).new_tokens == 2


def test_what_only_replies_need_changes_no_decision(fresh: SharedQwen) -> None:
    """Whatever it learns; all other weights do."""
    before = fresh.likelihoods(LABELS["music"], QUESTION)["label"]
    model = copy.deepcopy(fresh.model)
    language = language_weights(model)
    with torch.no_grad():
        for weight in language:
            weight.normal_()
    again = SharedQwen(model, fresh.tokenizer, capabilities=fresh.capabilities)
    assert again.likelihoods(LABELS["music"], QUESTION)["label"] == pytest.approx(before)
    others = [weight for weight in model.parameters() if all(weight is not each for each in language)]
    assert len(others) + len(language) == len(list(model.parameters()))
    assert all(any(weight is other for other in others) for weight in weights(model))


def test_the_output_layer_is_saved_beside_the_embedding(fresh: SharedQwen, tmp_path: Path) -> None:
    """They begin alike, and are no longer once replies have been learned."""
    model = copy.deepcopy(fresh.model)
    with torch.no_grad():
        model.lm_head.weight.mul_(2)
    model.save_pretrained(tmp_path)
    loaded = Qwen2ForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(loaded.lm_head.weight, 2 * loaded.get_input_embeddings().weight)
