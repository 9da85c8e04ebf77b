"""A new model, as training starts from."""

from typing import Any

import pytest
import torch
from tiny_qwen import SHAPE
from transformers import AutoTokenizer, PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM

from qwen_allinone.model import SharedQwen
from qwen_allinone.model.capabilities import Capabilities
from qwen_allinone.model.chatml import ChatML
from qwen_allinone.model.loading import bundled_folder
from qwen_allinone.model.questions import Choice
from training.circuit import decision_layers, new_model
from training.sizes import Schedule, Size

_NONE = Schedule(tokens=0, rate=0.0, step=0)
_SIZE = Size(14_000, 128, 128, 3, 2, bag_steps=0, both=_NONE, replies=_NONE)
LABELS = {"delivery": "parcel courier doorstep", "music": "song singer guitar", "cooking": "onion soup kitchen"}
QUESTION = {"label": Choice(instructions="Kind?", criteria=dict.fromkeys(LABELS))}


@pytest.fixture(scope="session")
def qwen(tokenizer: PreTrainedTokenizerBase) -> SharedQwen:
    """A random model that decides after its second layer and writes after its fourth."""
    torch.manual_seed(21)
    shape: dict[str, Any] = {**SHAPE, "num_hidden_layers": 4}
    config = Qwen2Config(**shape, vocab_size=len(tokenizer), initializer_range=0.25, tie_word_embeddings=False)
    return SharedQwen(Qwen2ForCausalLM(config).eval(), tokenizer, capabilities=Capabilities(decision_layers=2))


@pytest.fixture(scope="module")
def fresh() -> SharedQwen:
    """A model whose words lie around the label they belong to, and whose other words lie anywhere."""
    tokenizer = AutoTokenizer.from_pretrained(bundled_folder())
    chat = ChatML(tokenizer)
    torch.manual_seed(0)
    vectors = torch.randn(_SIZE.vocabulary, _SIZE.width)
    for label, words in LABELS.items():
        center = torch.randn(_SIZE.width) * 3
        vectors[chat.encode(f"{label} {label}")] = center
        for token in chat.encode(f"{words} {words}"):
            vectors[token] = center + torch.randn(_SIZE.width)
    model = new_model(_SIZE, vectors, chat)
    deciding = Capabilities(layout="text_first", per_token=True, decision_layers=decision_layers(model))
    return SharedQwen(model, tokenizer, capabilities=deciding)
