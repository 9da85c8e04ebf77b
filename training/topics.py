"""Examples of matching out of any texts: which of these words belongs to the text?

A word of the text, often taken out of it, stands among words of other texts. To answer is to know which words share
their contexts, and choosing among candidates never seen in training comes down to that.
"""

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain

import rjieba

from training.sources import Item, Source

_SHARE = 0.12
_ITEMS = 30_000
_SHORTEST = 12
"""Characters that a text must have more of."""
_RAREST, _COMMONEST = 4, 1 / 200
_HIDDEN = 0.6
_OTHERS = 12
_LATIN = re.compile(r"[A-Za-z]{4,}")
_HAN = re.compile(r"[\u3400-\u9fff]{2,}")


def topics(sources: Sequence[Source], *, seed: int) -> Source:
    """Draw a source of such examples from the texts of the others."""
    rng = random.Random(seed)
    texts = sorted({text for text in _texts(sources) if len(text) > _SHORTEST})
    texts = rng.sample(texts, min(len(texts), 2 * _ITEMS))
    words = [_words(text) for text in texts]
    counts = Counter(chain.from_iterable(words))
    known = {word for word, count in counts.items() if _RAREST <= count <= max(_RAREST, len(texts) * _COMMONEST)}
    latin = {word for word in known if _LATIN.fullmatch(word)}
    pools = {True: sorted(latin), False: sorted(known - latin)}
    items = []
    for text, own in zip(texts, words, strict=True):
        fitting = sorted(own & known)
        if not fitting:
            continue
        word = rng.choice(fitting)
        pool = pools[word in latin]
        others = [other for other in rng.sample(pool, min(len(pool), _OTHERS)) if other not in text.lower()]
        shown = re.sub(re.escape(word), "", text, flags=re.IGNORECASE) if rng.random() < _HIDDEN else text
        if shown.strip() and others:
            items.append(Item(shown, "topics", intent=word, intents=others))
    return Source("topics", _SHARE, items[:_ITEMS])


def _texts(sources: Sequence[Source]) -> Iterator[str]:
    for source in sources:
        for item in source.items:
            yield item.text


def _words(text: str) -> set[str]:
    latin = {word.lower() for word in _LATIN.findall(text)}
    return latin | {word for word in rjieba.cut(text) if _HAN.fullmatch(word)}
