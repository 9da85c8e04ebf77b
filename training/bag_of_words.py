"""Bag-of-words pre-training: token vectors learn the tasks while a text is the mean of its tokens and nothing else.

Mood and routes are read off that mean by one direction each, and a text lies near the label, word or query that belongs
to it (InfoNCE). This sees a hundred times more texts in a second than the network does, which later starts from the
vectors.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, embedding_bag, normalize

from qwen_allinone.model.chatml import ChatML
from training.prompts import BLANKS, option_leanings
from training.sources import Item, Source

KINDS = ("mood", "sentiment", "chat", "intent", "summary")
_BATCH = 1024
_RATE = 3e-3
_TEMPERATURE = 0.05
_PAIR_WEIGHT = 0.3
_BLANK = 0.04
"""Share of texts that say nothing and lean to no side."""
_DROPPED = 0.3
"""Share of a text's tokens that are left out each time."""


@dataclass(frozen=True)
class _Bag:
    """Tokens of one text and everything that is known about it."""

    tokens: list[int]
    answers: list[float]
    """1 or 0 for each kind, NaN where nothing is known."""
    partner: tuple[int, ...]
    """Tokens of the label that belongs to the text; none where there is no such."""


def pretrained(
    vectors: NDArray[np.float32], chat: ChatML, sources: Sequence[Source], *, steps: int, seed: int
) -> NDArray[np.float32]:
    """Train token vectors on all that is known about the texts. *Shape:* (vocabulary, width), rows of unit length.

    The words of the options that every turn needs point where their texts lie.

    Args:
        vectors: to start from, rows of unit length or zero.
        chat: encodes.
        sources: drawn from by their shares.
        steps: of 1,024 texts each.
        seed: of everything random.
    """
    torch.manual_seed(seed)
    rng = random.Random(seed)
    start = torch.from_numpy(vectors.copy())
    unseen = start.norm(dim=1) == 0
    start[unseen] = normalize(torch.randn(int(unseen.sum()), start.shape[1]), dim=1)
    tokens = torch.nn.Parameter(start)
    kinds = torch.nn.Parameter(torch.randn(len(KINDS), start.shape[1]) / start.shape[1] ** 0.5)
    bias = torch.nn.Parameter(torch.zeros(len(KINDS)))
    optimizer = torch.optim.AdamW([tokens, kinds, bias], lr=_RATE, weight_decay=0.01)
    draws = _draws(chat, sources, rng)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = _RATE * (1 - step / steps)
        bags = [next(draws) for _ in range(_BATCH)]
        loss = _loss(bags, tokens, kinds, bias, rng)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        _point_options(tokens, kinds, chat)
        return np.asarray(normalize(tokens, dim=1).numpy(), dtype=np.float32)


def _point_options(tokens: torch.Tensor, kinds: torch.Tensor, chat: ChatML) -> None:
    """Put the tokens of every option in the direction of what it says, with noise to tell them apart."""
    directions = normalize(kinds, dim=1)
    for words, leanings in option_leanings().items():
        leaning = sum(directions[KINDS.index(kind)] * by for kind, by in leanings.items())
        for index in chat.encode(words):
            noise = normalize(torch.randn(tokens.shape[1]), dim=0) * 0.5
            tokens[index] = noise + leaning


def _loss(
    bags: Sequence[_Bag], tokens: torch.Tensor, kinds: torch.Tensor, bias: torch.Tensor, rng: random.Random
) -> torch.Tensor:
    tokens = normalize(tokens, dim=1)  # the network does the same before it reads them
    means = _means([bag.tokens for bag in bags], tokens, rng)
    answers = torch.tensor([bag.answers for bag in bags])
    known = ~answers.isnan()
    scores = means @ kinds.T * 4 + bias
    loss = binary_cross_entropy_with_logits(scores[known], answers[known]) if known.any() else scores.sum() * 0
    paired = [index for index, bag in enumerate(bags) if bag.partner]
    if len(paired) > 1:
        labels = sorted({bags[index].partner for index in paired})
        place = {label: index for index, label in enumerate(labels)}
        near = normalize(means[paired], dim=1) @ normalize(_means(labels, tokens, None), dim=1).T / _TEMPERATURE
        loss = loss + _PAIR_WEIGHT * cross_entropy(near, torch.tensor([place[bags[index].partner] for index in paired]))
    return loss


def _means(texts: Sequence[Sequence[int]], tokens: torch.Tensor, rng: random.Random | None) -> torch.Tensor:
    """Return the mean of the tokens of each text, some left out by the generator, if any. *Shape:* (texts, width)."""
    left = [_thinned(text, rng) for text in texts]
    offsets = np.cumsum([0, *(len(text) for text in left[:-1])])
    flat = torch.tensor(list(chain.from_iterable(left)))
    return embedding_bag(flat, tokens, torch.from_numpy(offsets), mode="mean")


def _thinned(text: Sequence[int], rng: random.Random | None) -> list[int]:
    return [index for index in text if rng is None or rng.random() >= _DROPPED] or list(text[:1])


def _draws(chat: ChatML, sources: Sequence[Source], rng: random.Random) -> Iterator[_Bag]:
    """Yield texts without an end, each source by its share."""
    shares, stocks = [], []
    for source in sources:
        if bags := [bag for item in source.items if (bag := _bag(item, chat))]:
            shares.append(source.share)
            stocks.append(bags)
    shares.append(_BLANK * sum(source.share for source in sources))
    blanks = chain.from_iterable(BLANKS.values())
    stocks.append([_Bag(chat.encode(text), [0.5] * len(KINDS), ()) for text in blanks])
    while True:
        yield rng.choice(rng.choices(stocks, shares)[0])


def _bag(item: Item, chat: ChatML) -> _Bag | None:
    tokens = chat.encode(item.text)
    mood = {"positive": 1.0, "negative": 0.0}.get(item.mood or "")
    routes = [float(route in item.routes) if item.routes else None for route in KINDS[1:]]
    partner = item.intent or next((sentence for sentence, hit in item.sentences if hit), None)
    if not tokens or (mood is None and not item.routes and partner is None):
        return None
    answers = [float("nan") if answer is None else answer for answer in (mood, *routes)]
    return _Bag(tokens, answers, tuple(chat.encode(partner)) if partner else ())
