"""What is drawn when."""

import random

import pytest

from qwen_allinone.model import SharedQwen
from training.batches import Batch
from training.curriculum import STAGES, Curriculum, Progress, decisions, replies
from training.lessons import Teacher
from training.sources import Item, Source


@pytest.fixture
def sources() -> list[Source]:
    """One of moods and one of replies."""
    moods = [Item(f"text {number}", "inputs", mood="positive") for number in range(30)]
    talk = [Item(f"say {number}", "replies", reply="yes") for number in range(30)]
    return [Source("inputs", 0.5, moods), Source("replies", 0.5, talk)]


@pytest.fixture
def teacher(qwen: SharedQwen, sources: list[Source]) -> Teacher:
    """Knows both."""
    return Teacher(qwen.chat, [item for source in sources for item in source.items], text_tokens=40)


@pytest.fixture
def curriculum(teacher: Teacher, sources: list[Source]) -> Curriculum:
    """Of decisions."""
    return Curriculum(decisions(teacher), sources, step_tokens=1000, seed=1)


def _batches(curriculum: Curriculum, progress: Progress) -> list[Batch]:
    return [batch for step in curriculum.pool(progress) for batch in step]


def test_decisions_and_replies_are_lessons_apart(teacher: Teacher, sources: list[Source]) -> None:
    """No reply among the decisions, even of a text that has one, and nothing else among the replies."""
    asked = _batches(Curriculum(decisions(teacher), sources, step_tokens=1000, seed=1), Progress(total=100))
    replied = _batches(Curriculum(replies(teacher), sources[1:], step_tokens=1000, seed=1), Progress(total=100))
    assert not any(batch.alone.any() for batch in asked)
    assert all(batch.alone.all() for batch in replied)


def test_questions_are_short_at_first(teacher: Teacher) -> None:
    """Later stages ask in the toolkit's own words more often."""
    assert [stage.bare for stage in STAGES] == sorted((stage.bare for stage in STAGES), reverse=True)
    made, item = decisions(teacher), Item("text", "inputs", mood="positive", routes=("chat",))

    def length(share: float) -> float:
        lessons = [lesson for seed in range(60) if (lesson := made(item, random.Random(seed), share))]
        return sum(len(branch.stem) for lesson in lessons for branch in lesson.branches) / len(lessons)

    assert length(0.0) < 0.8 * length(1.0)


def test_every_text_comes_before_any_comes_again(curriculum: Curriculum) -> None:
    """Each round of a source holds all of its texts, in another order each time."""
    progress = Progress(total=100)
    rounds = [[curriculum._next(curriculum._sources[0], progress) for _ in range(30)] for _ in range(2)]
    assert sorted(rounds[0]) == sorted(rounds[1]) == list(range(30))
    assert rounds[0] != rounds[1]


@pytest.mark.parametrize("most", [500, 200])
def test_batches_keep_to_their_size(teacher: Teacher, sources: list[Source], most: int) -> None:
    """A batch holds no more than half a step's tokens, padding included, unless a single lesson is longer."""
    curriculum = Curriculum(decisions(teacher), sources, step_tokens=2 * most, seed=1)
    batches = _batches(curriculum, Progress(total=100))
    assert all(batch.size <= most or len(batch.ids) == 1 for batch in batches)
    assert max(batch.size for batch in batches if len(batch.ids) > 1) > most / 2
