"""A new model, as training starts from."""

from itertools import chain

import pytest
import torch
from transformers import AutoTokenizer

from qwen_allinone.model import SharedQwen
from qwen_allinone.model.capabilities import Capabilities
from qwen_allinone.model.chatml import ChatML
from qwen_allinone.model.loading import bundled_folder
from qwen_allinone.model.questions import Choice
from training.initialisation import new_model
from training.sizes import Schedule, Size

_NONE = Schedule(tokens=0, rate=0.0, cooling=0.2, step=0)
_SIZE = Size(14_000, 128, 128, 3, 2, bag_of_words_steps=0, both=_NONE, decisions=_NONE, replies=_NONE)
LABELS = {"delivery": "parcel courier doorstep", "music": "song singer guitar", "cooking": "onion soup kitchen"}
QUESTION = {"label": Choice(instructions="Kind?", criteria=dict.fromkeys(LABELS))}


@pytest.fixture(scope="module")
def fresh() -> SharedQwen:
    """A model whose words lie around the label they belong to; pieces that labels share lie anywhere, as others do."""
    tokenizer = AutoTokenizer.from_pretrained(bundled_folder())
    chat = ChatML(tokenizer)
    torch.manual_seed(0)
    vectors = torch.randn(_SIZE.vocabulary, _SIZE.width)
    pieces: dict[str, set[int]] = {}
    for label, words in LABELS.items():
        pieces[label] = set(chain.from_iterable(chat.encode(f"{word} {word}") for word in words.split()))
    for label, own in pieces.items():
        center = torch.randn(_SIZE.width) * 3
        vectors[chat.encode(f"{label} {label}")] = center
        for token in own.difference(*(others for name, others in pieces.items() if name != label)):
            vectors[token] = center + torch.randn(_SIZE.width)
    model = new_model(_SIZE, vectors, chat)
    return SharedQwen(model, tokenizer, capabilities=Capabilities(layout="text_first", per_token=True))
