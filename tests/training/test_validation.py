"""What a model in training is told about itself."""

from dataclasses import replace

from qwen_allinone.model import SharedQwen
from tests.training.conftest import LABELS
from training.sources import Item
from training.validation import accuracies, reply_costs


def _held(*, shift: int) -> list[Item]:
    """Texts made of the words of a label, each with the label so many places further."""
    labels = list(LABELS)
    return [
        Item(f"{word} {other}", "intents", intent=labels[(place + shift) % len(labels)], intents=labels)
        for place, words in enumerate(LABELS.values())
        for word in words.split()
        for other in words.split()
    ]


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
