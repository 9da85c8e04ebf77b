"""Which lessons are drawn when."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from training.batches import Batch, collate
from training.lessons import Lesson, Teacher
from training.sources import Item, Source

_POOL = 384
"""Lessons that are sorted by length before they are cut into batches."""
_PARTS = 2
"""Batches of a step, which two cores compute side by side."""


LessonMaker = Callable[[Item, random.Random, float], Lesson | None]
"""Makes a lesson of an item, given how far the training is, from 0 to 1; None if there is nothing to learn."""


@dataclass(frozen=True)
class Stage:
    """A stretch of the training of decisions."""

    until: float
    """Share of the training at which the stage ends."""
    bare: float
    """How often a question comes in its shortest form, which teaches most per token."""
    own_routes: float
    """How often a text with a label is asked for its route, to which the label then belongs."""
    cut: float
    """How often, per character, every second text is cut: at first often, so that words are known by their parts."""


STAGES = (
    Stage(until=0.7, bare=0.7, own_routes=0.4, cut=0.07),
    Stage(until=1.0, bare=0.35, own_routes=0.5, cut=0.03),
)
_CUT_FOR_REPLIES = 0.03


def decisions(teacher: Teacher) -> LessonMaker:
    """Questions, at first mostly in their shortest form, then in the toolkit's own wordings."""

    def made(item: Item, rng: random.Random, share: float) -> Lesson | None:
        stage = next((stage for stage in STAGES if share < stage.until), STAGES[-1])
        return teacher.questions(item, rng, bare=stage.bare, own_routes=stage.own_routes, cut=stage.cut)

    return made


def replies(teacher: Teacher) -> LessonMaker:
    """What to say to a text."""
    return lambda item, rng, _: teacher.reply(item, rng, cut=_CUT_FOR_REPLIES)


@dataclass
class Progress:
    """How far a training is; all that is needed to continue it, besides the weights and the optimizer."""

    total: int
    """Tokens to train on, padding included."""
    seen: int = 0
    steps: int = 0
    pools: int = 0
    drawn: dict[str, int] = field(default_factory=dict)
    """Items drawn of each source."""

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return min(1.0, self.seen / self.total)


class Curriculum:
    """Draws batches; what it draws depends on the seed and the progress alone, so that a training can be continued."""

    def __init__(self, made: LessonMaker, sources: Sequence[Source], *, step_tokens: int, seed: int) -> None:
        self._made = made
        self._sources = sources
        self._step_tokens = step_tokens
        self._seed = seed
        self._orders: dict[tuple[str, int], list[int]] = {}

    def pool(self, progress: Progress) -> Iterator[tuple[Batch, ...]]:
        """The next steps, each of some batches of lessons of similar length."""
        rng = random.Random(f"{self._seed} {progress.pools}")
        progress.pools += 1
        shares = [source.share for source in self._sources]
        lessons: list[Lesson] = []
        while len(lessons) < _POOL:
            source = rng.choices(self._sources, shares)[0]
            lesson = self._made(source.items[self._next(source, progress)], rng, progress.share)
            if lesson is not None:
                lessons.append(lesson)
        most = self._step_tokens // _PARTS
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
