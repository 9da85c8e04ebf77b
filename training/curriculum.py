"""Which lessons are drawn when."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from training.batches import Batch, collate
from training.lessons import Lesson, Teacher
from training.sources import Source

_POOL = 384
"""Lessons that are sorted by length before they are cut into batches."""
_PARTS = 2
"""Batches of a step, which two cores compute side by side."""


@dataclass(frozen=True)
class Stage:
    """A stretch of the training with one aim."""

    until: float
    """Share of the training at which the stage ends."""
    bare: float
    """How often a question comes in its shortest form, which teaches most per token."""
    asked_of_replies: float
    """How often a text that has a reply is asked about as well."""
    replies: float
    """By how much the shares of the sources with replies are multiplied."""
    own_routes: float
    """How often a text with a label is asked for its route, to which the label then belongs."""
    cut: float
    """How often, per character, every second text is cut: at first often, so that words are known by their parts."""
    words: float
    """How much the words of replies and right options count; at first too little to drown the decisions."""
    grown: bool = False
    """Whether the model has layers and an output layer of its own for replies (``circuit.grow``)."""
    pace: float = 1.0
    """Factor of the learning rate for these, and before the model has grown for all that begins without a meaning."""
    batch: float = 1.0
    """Part of a whole step's tokens that a step has."""
    early: bool = False
    """Whether options are scored as they are when the model ships: by the embedding, before the layers for replies."""


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
    """How far a training is; all that is needed to continue it, besides the weights and the optimizer."""

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
        """From 0 to 1."""
        return min(1.0, self.seen / self.total)


class Curriculum:
    """Draws batches; what it draws depends on the seed and the progress alone, so that a training can be continued."""

    def __init__(
        self, teacher: Teacher, sources: Sequence[Source], *, stages: Sequence[Stage], step_tokens: int, seed: int
    ) -> None:
        self._teacher = teacher
        self._sources = sources
        self._stages = stages
        self._step_tokens = step_tokens
        self._seed = seed
        self._orders: dict[tuple[str, int], list[int]] = {}

    def stage(self, progress: Progress) -> Stage:
        """The stage that a training has reached."""
        return next((stage for stage in self._stages if progress.share < stage.until), self._stages[-1])

    def pool(self, progress: Progress) -> Iterator[tuple[Batch, ...]]:
        """The next steps, each of some batches of lessons of similar length."""
        rng = random.Random(f"{self._seed} {progress.pools}")
        progress.pools += 1
        stage = self.stage(progress)
        shares = [source.share * (stage.replies if source.replies else 1.0) for source in self._sources]
        lessons: list[Lesson] = []
        while len(lessons) < _POOL:
            source = rng.choices(self._sources, shares)[0]
            item = source.items[self._next(source, progress)]
            lesson = self._teacher.lesson(
                item, rng, bare=stage.bare, asked=stage.asked_of_replies, own_routes=stage.own_routes, cut=stage.cut
            )
            if lesson is not None:
                lessons.append(lesson)
        most = int(self._step_tokens * stage.batch) // _PARTS
        groups = _groups(sorted(lessons, key=lambda lesson: lesson.length), most)
        steps = [groups[first : first + _PARTS] for first in range(0, len(groups), _PARTS)]
        rng.shuffle(steps)
        return (tuple(collate(group) for group in step) for step in steps)

    def _next(self, source: Source, progress: Progress) -> int:
        """Every item once, in a new order each time round."""
        count = progress.drawn.get(source.name, 0)
        progress.drawn[source.name] = count + 1
        turn, place = divmod(count, len(source.items))
        key = (source.name, turn)
        if key not in self._orders:
            self._orders.pop((source.name, turn - 1), None)
            everything = range(len(source.items))
            self._orders[key] = random.Random(f"{self._seed} {key}").sample(everything, len(everything))
        return self._orders[key][place]


def _groups(lessons: Sequence[Lesson], tokens: int) -> list[list[Lesson]]:
    """Runs of lessons that fill a batch each, the longest last."""
    groups: list[list[Lesson]] = [[]]
    for lesson in lessons:
        if groups[-1] and (len(groups[-1]) + 1) * lesson.length > tokens:
            groups.append([])
        groups[-1].append(lesson)
    return groups
