"""Figures of a model in training."""

from dataclasses import replace
from itertools import product

from qwen_allinone.model import SharedQwen
from tests.training.conftest import LABELS
from training.sources import Item
from training.validation import accuracies, reply_costs


def _held(*, shift: int) -> list[Item]:
    """Texts made of the words of a label, each with the label so many places further."""
    labels, items = list(LABELS), []
    for place, words in enumerate(LABELS.values()):
        right = labels[(place + shift) % len(labels)]
        for word, other in product(words.split(), repeat=2):
            items.append(Item(f"{word} {other}", "intents", intent=right, intents=labels))
    return items


def test_accuracy_is_the_share_that_is_right(fresh: SharedQwen) -> None:
    """All where each text has its own label, none where it has its neighbour's."""
    assert accuracies(fresh, _held(shift=0)) == {"intent intents en": "1.000 of 27"}
    assert accuracies(fresh, _held(shift=1)) == {"intent intents en": "0.000 of 27"}


def test_a_reply_costs_what_the_writing_model_finds(fresh: SharedQwen) -> None:
    """A new model finds likely what stands in the text; replies with a memory count apart."""
    held = [Item("onion soup", "replies", reply=reply) for reply in ("onion soup", "song singer")]
    near, far = (reply_costs(fresh, [item])["en"] for item in held)
    assert 0 < near < far
    assert "memory" in reply_costs(fresh, [replace(held[0], memory="I like onions")])
