"""Token vectors that know the tasks before the network is trained."""

import numpy as np
import pytest
from transformers import AutoTokenizer

from qwen_allinone.model.chatml import ChatML
from qwen_allinone.model.loading import bundled_folder
from training import bag_of_words
from training.sources import Item, Source


@pytest.fixture
def sources() -> list[Source]:
    """Moods, and labels that share no word with their texts."""
    moods = [Item(f"{word} {noun}", "a", mood=mood) for word, mood in _WORDS for noun in _NOUNS]
    labelled = [Item(f"my {noun} now", "b", intent=label, intents=["x"]) for noun, label in _LABELS for _ in range(3)]
    return [Source("a", 0.5, moods), Source("b", 0.5, labelled)]


@pytest.fixture(scope="module")
def chat() -> ChatML:
    """A tokenizer that knows words."""
    return ChatML(AutoTokenizer.from_pretrained(bundled_folder()))


def _mean(vectors: np.ndarray, chat: ChatML, text: str) -> np.ndarray:
    mean = vectors[chat.encode(text)].mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean))


def test_texts_come_near_their_labels(chat: ChatML, sources: list[Source]) -> None:
    """Vectors keep unit length, and the mean of a text's tokens is nearer to its own label than to any other."""
    vectors = bag_of_words.pretrained(np.zeros((_VOCABULARY, 32), np.float32), chat, sources, steps=200, seed=0)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    for noun, label in _LABELS:
        near = {
            other: float(_mean(vectors, chat, f"my {noun} now") @ _mean(vectors, chat, other)) for _, other in _LABELS
        }
        assert max(near, key=near.__getitem__) == label


def test_moods_come_apart(chat: ChatML, sources: list[Source]) -> None:
    """Texts of opposite mood lie further apart than before."""

    def likeness(steps: int) -> float:
        start = np.zeros((_VOCABULARY, 32), np.float32)
        vectors = bag_of_words.pretrained(start, chat, sources, steps=steps, seed=0)
        good = [_mean(vectors, chat, f"{word} chair") for word, mood in _WORDS if mood == "positive"]
        bad = [_mean(vectors, chat, f"{word} chair") for word, mood in _WORDS if mood == "negative"]
        return float(np.mean([one @ other for one in good for other in bad]))

    assert likeness(200) < likeness(0) - 0.2


def test_words_of_options_lie_where_their_texts_do(chat: ChatML, sources: list[Source]) -> None:
    """A good text is nearer to "positive" than to "negative", a bad one the other way round, in either language."""
    vectors = bag_of_words.pretrained(np.zeros((_VOCABULARY, 32), np.float32), chat, sources, steps=200, seed=0)
    for text, nearer, farther in (("lovely room", 0, 1), ("awful room", 1, 0)):
        for options in (_MOODS, ("正面", "负面")):
            near, far = (
                float(_mean(vectors, chat, text) @ _mean(vectors, chat, options[place])) for place in (nearer, farther)
            )
            assert near > far


_VOCABULARY = 14_000
_MOODS = ("positive", "negative")
_WORDS = (("lovely", "positive"), ("great", "positive"), ("awful", "negative"), ("broken", "negative"))
_NOUNS = ("room", "film", "meal", "phone")
_LABELS = (("parcel", "delivery"), ("invoice", "money"), ("fever", "doctor"))
