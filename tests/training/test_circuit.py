"""A new model decides as the bag of tokens does, before any training."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoTokenizer

from qwen_allinone.model import SharedQwen
from qwen_allinone.model.capabilities import Capabilities
from qwen_allinone.model.chatml import ChatML, Message
from qwen_allinone.model.loading import bundled_folder
from qwen_allinone.model.questions import Choice
from training.circuit import language_weights, new_model, weights
from training.sizes import Size

_SIZE = Size(14_000, 128, 128, 3, 2, bag_steps=0, tokens=0, learning_rate=0.0, batch=0)
_LABELS = {"delivery": "parcel courier doorstep", "music": "song singer guitar", "cooking": "onion soup kitchen"}
_QUESTION = {"label": Choice(instructions="Kind?", criteria=dict.fromkeys(_LABELS))}


@pytest.fixture(scope="module")
def fresh() -> SharedQwen:
    """A model whose words lie around the label they belong to, and whose other words lie anywhere."""
    tokenizer = AutoTokenizer.from_pretrained(bundled_folder())
    chat = ChatML(tokenizer)
    torch.manual_seed(0)
    vectors = torch.randn(_SIZE.vocabulary, _SIZE.width)
    for label, words in _LABELS.items():
        center = torch.randn(_SIZE.width) * 3
        vectors[chat.encode(f"{label} {label}")] = center
        for token in chat.encode(f"{words} {words}"):
            vectors[token] = center + torch.randn(_SIZE.width)
    model = new_model(_SIZE, vectors, chat)
    return SharedQwen(model, tokenizer, capabilities=Capabilities(layout="text_first", per_token=True))


@pytest.mark.parametrize("label", _LABELS)
def test_a_text_goes_to_the_label_around_which_its_words_lie(fresh: SharedQwen, label: str) -> None:
    """Though other labels stand nearer to the answer, in the question."""
    assert fresh.decide(_LABELS[label], _QUESTION)["label"].option == label


@pytest.mark.parametrize("label", _LABELS)
def test_what_others_said_counts_for_little(fresh: SharedQwen, label: str) -> None:
    """The assistant's words are hardly looked at; the user's are."""
    other = next(each for each in _LABELS if each != label)
    history = [Message("user", "hm"), Message("assistant", " ".join([_LABELS[other]] * 4))]
    assert fresh.decide(_LABELS[label], _QUESTION, history=history)["label"].option == label


def test_what_is_not_part_of_the_circuit_changes_nothing(fresh: SharedQwen) -> None:
    """Its parts write zeros until they are trained."""
    text = _LABELS["music"]
    before = fresh.likelihoods(text, _QUESTION)["label"]
    with torch.no_grad():
        for layer in fresh.model.model.layers:
            layer.mlp.up_proj.weight.mul_(3)
        first = fresh.model.model.layers[0].self_attn
        first.v_proj.weight[first.head_dim :].mul_(3)
    fresh.forget()
    assert fresh.likelihoods(text, _QUESTION)["label"] == pytest.approx(before)


def test_an_output_layer_of_its_own_begins_as_the_embedding() -> None:
    """So that such a model decides as the bag does too, and may then learn to write without moving the embedding."""
    chat = ChatML(AutoTokenizer.from_pretrained(bundled_folder()))
    vectors = torch.randn(_SIZE.vocabulary, _SIZE.width)
    model = new_model(replace(_SIZE, tied=False), vectors, chat)
    assert model.lm_head.weight is not model.get_input_embeddings().weight
    assert torch.equal(model.lm_head.weight, model.get_input_embeddings().weight)


@pytest.mark.parametrize("tied", [True, False])
def test_what_replies_may_move_is_no_part_of_the_circuit(tied: bool) -> None:
    """The output layer is one of them only where it is not the embedding."""
    chat = ChatML(AutoTokenizer.from_pretrained(bundled_folder()))
    model = new_model(replace(_SIZE, tied=tied), torch.randn(_SIZE.vocabulary, _SIZE.width), chat)
    circuit, language = ({id(weight) for weight in part(model)} for part in (weights, language_weights))
    assert circuit and language and not circuit & language
    assert (id(model.lm_head.weight) in language) is not tied
    assert id(model.model.layers[0].mlp.up_proj.weight) not in language
    assert id(model.model.layers[-1].mlp.up_proj.weight) in language
