"""What a model in training is told about itself."""

import copy

import pytest
import torch

from qwen_allinone.model import SharedQwen
from tests.training.conftest import LABELS
from training.sources import Item
from training.validation import _FACTORS, accuracies, sharpen


def _held(*, shift: int) -> list[Item]:
    """Texts made of the words of a label, each with the label so many places further."""
    labels = list(LABELS)
    return [
        Item(f"{word} {other}", "intents", intent=labels[(place + shift) % len(labels)], intents=labels)
        for place, words in enumerate(LABELS.values())
        for word in words.split()
        for other in words.split()
    ]


@pytest.fixture
def qwen(fresh: SharedQwen) -> SharedQwen:
    """A model that tells the labels apart."""
    return SharedQwen(copy.deepcopy(fresh.model), fresh.tokenizer, capabilities=fresh.capabilities)


def test_accuracy_is_the_share_that_is_right(qwen: SharedQwen) -> None:
    """All where each text has its own label, none where it has its neighbour's."""
    assert accuracies(qwen, _held(shift=0)) == {"intent intents en": "1.000 of 27"}
    assert accuracies(qwen, _held(shift=1)) == {"intent intents en": "0.000 of 27"}


@pytest.mark.parametrize(("shift", "factor"), [(0, _FACTORS[-1]), (1, _FACTORS[0])])
def test_a_model_is_made_as_sure_as_it_is_right(qwen: SharedQwen, shift: int, factor: float) -> None:
    """More so where it is always right, less where it never is."""
    before = qwen.model.model.norm.weight.clone()
    assert sharpen(qwen, _held(shift=shift)) == factor
    torch.testing.assert_close(qwen.model.model.norm.weight, before * factor)
    assert accuracies(qwen, _held(shift=shift))["intent intents en"].startswith("1.000" if shift == 0 else "0.000")
