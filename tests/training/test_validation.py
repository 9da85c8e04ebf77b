"""What a model in training is told about itself."""

from qwen_allinone.model import SharedQwen
from tests.training.conftest import LABELS
from training.sources import Item
from training.validation import accuracies


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
