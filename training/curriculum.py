"""The order of the training: stages, and the examples drawn in each."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from training.batches import Batch, collate
from training.example_builder import Example, ExampleBuilder
from training.sources import Source

_POOL = 384
"""Examples that are sorted by length before they are cut into batches."""
_PARTS = 2
"""Batches of a step, which two cores compute side by side."""


@dataclass(frozen=True)
class Stage:
    """A stretch of the training with one aim."""

    until: float
    """Share of the training at which the stage ends."""
    bare: float
    """Share of the questions in their shortest form, which teaches most per token."""
    asked_of_replies: float
    """Share of the texts with a reply that are asked about as well."""
    replies: float
    """Factor of the shares of the sources with replies."""
    own_routes: float
    """Share of the labels that are asked for as a route."""
    cut: float
    """Share of the characters before which every second text is cut: at first large, to know words by their parts."""
    words: float
    """Weight of the words of replies and right options; at first too small to drown the decisions."""
    grown: bool = False
    """True if the model has layers and an output layer of its own for replies (``initialisation.grow``)."""
    pace: float = 1.0
    """Factor of the learning rate for these; before the model has grown, for all that begins without a meaning."""
    batch: float = 1.0
    """Part of a whole step's tokens that a step has."""
    early: bool = False
    """True if options are scored as the shipped model scores them: by the embedding, before the layers for replies."""


_MOSTLY_REPLIES = Stage(
    until=0.9,
    bare=0.35,
    asked_of_replies=0.15,
    replies=8.0,
    own_routes=0.7,
    cut=0.03,
    words=6.0,
    grown=True,
    pace=5.0,
    batch=0.5,
)
BOTH = (
    Stage(until=0.274, bare=0.7, asked_of_replies=1.0, replies=0.3, own_routes=0.4, cut=0.07, words=1.0),
    Stage(until=0.308, bare=0.35, asked_of_replies=0.5, replies=1.0, own_routes=0.5, cut=0.03, words=3.0),
    Stage(until=0.41, bare=0.35, asked_of_replies=0.15, replies=4.0, own_routes=0.5, cut=0.03, words=6.0),
    Stage(until=0.684, bare=0.35, asked_of_replies=0.15, replies=4.0, own_routes=0.5, cut=0.03, words=6.0, pace=3.0),
    _MOSTLY_REPLIES,
    replace(_MOSTLY_REPLIES, until=1.0, replies=4.0),
)
"""Decisions first, on short questions, then the toolkit's own wordings, then replies as well."""
DECISIONS = (
    Stage(
        until=1.0,
        bare=0.5,
        asked_of_replies=1.0,
        replies=1.0,
        own_routes=0.8,
        cut=0.03,
        words=1.0,
        grown=True,
        early=True,
    ),
)
"""No replies, and more routes of users', which replies make a model forget."""
REPLIES = (replace(_MOSTLY_REPLIES, until=1.0, asked_of_replies=0.0, batch=1.0),)
"""Nothing else."""


@dataclass
class Progress:
    """State of a training, besides the weights and the optimizer."""

    total: int
    """Tokens to train on, padding included."""
    seen: int = 0
    steps: int = 0
    pools: int = 0
    grown_at: int | None = None
    """Step at which the model grew, and the learning rate began to climb once more; None before."""
    drawn: dict[str, int] = field(default_factory=dict)
    """Items drawn of each source."""

    @property
    def share(self) -> float:
        """Share of the tokens seen, from 0 to 1."""
        return min(1.0, self.seen / self.total)


class Curriculum:
    """Draws batches by the seed and the progress alone, so that a training can be continued."""

    def __init__(
        self,
        builder: ExampleBuilder,
        sources: Sequence[Source],
        *,
        stages: Sequence[Stage],
        step_tokens: int,
        seed: int,
    ) -> None:
        self._builder = builder
        self._sources = sources
        self._stages = stages
        self._step_tokens = step_tokens
        self._seed = seed
        self._orders: dict[tuple[str, int], list[int]] = {}

    def stage(self, progress: Progress) -> Stage:
        """Return the stage that a training has reached."""
        return next((stage for stage in self._stages if progress.share < stage.until), self._stages[-1])

    def pool(self, progress: Progress) -> Iterator[tuple[Batch, ...]]:
        """Draw the next steps, each of some batches of examples of similar length."""
        rng = random.Random(f"{self._seed} {progress.pools}")
        progress.pools += 1
        stage = self.stage(progress)
        shares = [source.share * (stage.replies if source.replies else 1.0) for source in self._sources]
        examples: list[Example] = []
        while len(examples) < _POOL:
            source = rng.choices(self._sources, shares)[0]
            item = source.items[self._next(source, progress)]
            example = self._builder.example(
                item, rng, bare=stage.bare, asked=stage.asked_of_replies, own_routes=stage.own_routes, cut=stage.cut
            )
            if example is not None:
                examples.append(example)
        most = int(self._step_tokens * stage.batch) // _PARTS
        groups = _groups(sorted(examples, key=lambda example: example.length), most)
        steps = [groups[first : first + _PARTS] for first in range(0, len(groups), _PARTS)]
        rng.shuffle(steps)
        for step in steps:
            yield tuple(map(collate, step))

    def _next(self, source: Source, progress: Progress) -> int:
        """Return the next item's place: every item once, in a new order each time round."""
        count = progress.drawn.get(source.name, 0)
        progress.drawn[source.name] = count + 1
        turn, place = divmod(count, len(source.items))
        key = (source.name, turn)
        if key not in self._orders:
            self._orders.pop((source.name, turn - 1), None)
            everything = range(len(source.items))
            self._orders[key] = random.Random(f"{self._seed} {key}").sample(everything, len(everything))
        return self._orders[key][place]


def _groups(examples: Sequence[Example], tokens: int) -> list[list[Example]]:
    """Return runs of examples that fill a batch each, the longest last."""
    groups: list[list[Example]] = [[]]
    for example in examples:
        if groups[-1] and (len(groups[-1]) + 1) * example.length > tokens:
            groups.append([])
        groups[-1].append(example)
    return groups
