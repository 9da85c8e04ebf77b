"""The order of the training."""

import pytest

from qwen_allinone.model import SharedQwen
from training.batches import Batch
from training.curriculum import Curriculum, Progress, Stage
from training.example_builder import ExampleBuilder
from training.sources import Item, Source


@pytest.fixture
def curriculum(qwen: SharedQwen) -> Curriculum:
    """One source of moods and one of replies; replies only in the second half."""
    moods = [Item(f"text {number}", "inputs", mood="positive") for number in range(30)]
    talk = [Item(f"say {number}", "replies", reply="yes") for number in range(30)]
    stages = (
        Stage(until=0.5, bare=0.5, asked_of_replies=0, replies=0, own_routes=0, cut=0, words=1),
        Stage(until=1, bare=0.5, asked_of_replies=0, replies=1000, own_routes=0, cut=0, words=1, batch=0.4),
    )
    sources = [Source("inputs", 0.5, moods), Source("replies", 0.5, talk)]
    return Curriculum(ExampleBuilder(qwen.chat, talk, text_tokens=40), sources, stages=stages, step_tokens=1000, seed=1)


def _batches(curriculum: Curriculum, progress: Progress) -> list[Batch]:
    return [batch for step in curriculum.pool(progress) for batch in step]


def test_stages_weigh_the_replies(curriculum: Curriculum) -> None:
    """No reply is drawn in a stage without, and hardly anything else in one that has mostly replies."""
    early, late = Progress(total=100), Progress(total=100, seen=60)
    assert not any(batch.alone.any() for batch in _batches(curriculum, early))
    alone = [float(batch.alone.float().mean()) for batch in _batches(curriculum, late)]
    assert sum(alone) / len(alone) > 0.9


def test_every_text_comes_before_any_comes_again(curriculum: Curriculum) -> None:
    """Each round of a source holds all of its texts, in another order each time."""
    progress = Progress(total=100)
    drawn = [curriculum._next(curriculum._sources[0], progress) for _ in range(60)]
    first, second = drawn[:30], drawn[30:]
    assert sorted(first) == sorted(second) == list(range(30))
    assert first != second


@pytest.mark.parametrize(("seen", "most"), [(0, 500), (60, 200)])
def test_batches_keep_to_their_size(curriculum: Curriculum, seen: int, most: int) -> None:
    """A batch holds no more tokens than its stage allows, padding included, unless a single example is longer."""
    batches = _batches(curriculum, Progress(total=100, seen=seen))
    assert all(batch.size <= most or len(batch.ids) == 1 for batch in batches)
    assert max(batch.size for batch in batches if len(batch.ids) > 1) > most / 2
