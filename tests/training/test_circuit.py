"""A new model decides as the bag of tokens does, before any training."""

import pytest
import torch

from qwen_allinone.model import SharedQwen
from qwen_allinone.model.chatml import Message
from tests.training.conftest import LABELS, QUESTION
from training.circuit import code_size, keep_codes


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


def test_codes_are_told_apart_and_count_for_no_decision(fresh: SharedQwen) -> None:
    """Also of words that lie in one place; and they are kept from what a step writes."""
    text, size = LABELS["music"], code_size(fresh.model.config)
    codes = fresh.model.get_input_embeddings().weight[:, :size].detach()
    ids = torch.tensor(fresh.chat.encode(" ".join(LABELS.values())))
    assert (codes[ids] @ codes.T).argmax(1).equal(ids)
    before = fresh.likelihoods(text, QUESTION)["label"]
    output = fresh.model.model.layers[-1].self_attn.o_proj.weight
    with torch.no_grad():
        output[: 2 * size] += 1
        fresh.model.model.norm.weight[: 2 * size] += 1
    fresh.forget()
    assert fresh.likelihoods(text, QUESTION)["label"] != pytest.approx(before)
    keep_codes(fresh.model)
    fresh.forget()
    assert fresh.likelihoods(text, QUESTION)["label"] == pytest.approx(before)
