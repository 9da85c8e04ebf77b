"""Matching lessons out of any texts: which of these words belongs to the text?

A word of the text, often taken out of it, stands among words of other texts. Whoever answers has learned which words
keep company, which is what choosing among candidates never seen in training comes down to.
"""

import random
import re
from collections import Counter
from collections.abc import Sequence

import rjieba

from training.sources import Item, Source

_SHARE = 0.12
_ITEMS = 30_000
_RAREST, _COMMONEST = 4, 1 / 200
_HIDDEN = 0.6
_OTHERS = 12
_LATIN = re.compile(r"[A-Za-z]{4,}")
_HAN = re.compile(r"[\u3400-\u9fff]{2,}")


def topics(sources: Sequence[Source], *, seed: int) -> Source:
    """A source of such lessons, drawn from the texts of the others."""
    rng = random.Random(seed)
    texts = sorted({item.text for source in sources for item in source.items if len(item.text) > 12})
    texts = rng.sample(texts, min(len(texts), 2 * _ITEMS))
    words = [_words(text) for text in texts]
    counts = Counter(word for each in words for word in each)
    known = {word for word, count in counts.items() if _RAREST <= count <= max(_RAREST, len(texts) * _COMMONEST)}
    pools = {latin: sorted(word for word in known if bool(_LATIN.fullmatch(word)) is latin) for latin in (True, False)}
    items = []
    for text, own in zip(texts, words, strict=True):
        fitting = sorted(own & known)
        if not fitting:
            continue
        word = rng.choice(fitting)
        pool = pools[bool(_LATIN.fullmatch(word))]
        others = [other for other in rng.sample(pool, min(len(pool), _OTHERS)) if other not in text.lower()]
        shown = re.sub(re.escape(word), "", text, flags=re.IGNORECASE) if rng.random() < _HIDDEN else text
        if shown.strip() and others:
            items.append(Item(shown, "topics", intent=word, intents=others))
    return Source("topics", _SHARE, items[:_ITEMS])


def _words(text: str) -> set[str]:
    latin = {word.lower() for word in _LATIN.findall(text)}
    return latin | {word for word in rjieba.cut(text) if _HAN.fullmatch(word)}
