"""What each token leans to: evidence for a mood and for each route, as a naive Bayes classifier would count it.

A few dimensions of the tied embedding start with these log-odds, so that the labels' words already point at the texts'
words before any training. The rest of the network learns to read them, and everything they do not say.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from qwen_allinone.model.chatml import ChatML
from training.lessons import option_leanings
from training.sources import Item, Source

KINDS = ("mood", "sentiment", "chat", "intent", "summary")
_SMOOTHING = 2.0
_MOST = 3.0
_SCALE = 0.15


def add_leanings(vectors: np.ndarray, chat: ChatML, sources: Sequence[Source], *, seed: int) -> None:
    """Write the log-odds into the last dimensions of the vectors, in place. *Shape:* (vocabulary, width).

    The option words start from noise instead of their company, which opposites share, and lean fully to their own side.
    """
    odds = _log_odds(chat, sources, len(vectors))
    vectors[:, -len(KINDS) :] = _SCALE * np.clip(odds, -_MOST, _MOST)
    rng = np.random.default_rng(seed)
    for words, leanings in option_leanings().items():
        for index in chat.encode(words):
            vectors[index] = rng.normal(size=vectors.shape[1]) / np.sqrt(vectors.shape[1])
            vectors[index, -len(KINDS) :] = [_SCALE * _MOST * leanings.get(kind, 0.0) for kind in KINDS]


def _log_odds(chat: ChatML, sources: Sequence[Source], size: int) -> np.ndarray:
    """Log of how much likelier a token is on one side than on the other. *Shape:* (size, kinds)."""
    counts = np.full((2, len(KINDS), size), _SMOOTHING)
    for source in sources:
        weight = source.share * 1e5 / len(source.items)
        for item in source.items:
            tokens = list(set(chat.encode(item.text)))
            for kind, side in _sides(item):
                counts[side, kind, tokens] += min(1.0, weight)
    shares = counts / counts.sum(axis=2, keepdims=True)
    return np.asarray(np.log(shares[1] / shares[0]).T)


def _sides(item: Item) -> Iterator[tuple[int, int]]:
    if item.mood in ("positive", "negative"):
        yield 0, int(item.mood == "positive")
    if item.routes:
        for kind, route in enumerate(KINDS[1:], start=1):
            yield kind, int(route in item.routes)
