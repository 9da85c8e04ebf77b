"""A training that was interrupted ends as if it had not been."""

import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from qwen_allinone.model import SharedQwen
from training.curriculum import CURRICULUM, Curriculum
from training.lessons import Teacher
from training.sources import Item, Source
from training.train import Training, kept

_TOKENS = 350_000


@pytest.fixture
def curriculum(qwen: SharedQwen) -> Curriculum:
    """Two small sources."""
    moods = [Item(f"text number {number} is {word}", "inputs", mood=word) for number in range(40) for word in _MOODS]
    talk = [Item(f"say {number}", "replies", routes=("chat",), reply=f"{number}!") for number in range(40)]
    sources = [Source("inputs", 0.5, moods), Source("replies", 0.5, talk)]
    return Curriculum(Teacher(qwen.chat, talk, text_tokens=40), sources, stages=CURRICULUM, step_tokens=2000, seed=3)


_MOODS = ("positive", "negative")


class _InterruptedError(Exception):
    pass


def _trained(
    qwen: SharedQwen, curriculum: Curriculum, folder: Path, *, interrupted_at: float | None
) -> dict[str, torch.Tensor]:
    def new() -> Training:
        return Training(copy.deepcopy(qwen.model), tokens=_TOKENS, learning_rate=1e-3)

    def keep_and_stop() -> None:
        if training.progress.share < (interrupted_at or 0):
            return
        training.keep(folder)
        raise _InterruptedError

    silent = SimpleNamespace(log=lambda _: None, check=lambda: None)
    training = new()
    if interrupted_at is not None:
        with pytest.raises(_InterruptedError):
            training.run(curriculum, log=silent.log, check=keep_and_stop)
        assert kept(folder)
        training = new()
        training.take_up(folder)
        assert interrupted_at <= training.progress.share < 1
    training.run(curriculum, log=silent.log, check=silent.check)
    return dict(training.model.state_dict())


@pytest.mark.parametrize("share", [0.0, 0.9])
def test_a_resumed_training_gives_the_same_weights(
    qwen: SharedQwen, curriculum: Curriculum, tmp_path: Path, share: float
) -> None:
    """Weights, optimizer, average, learning rate and the order of the texts all go on where they were."""
    whole = _trained(qwen, curriculum, tmp_path, interrupted_at=None)
    assert not kept(tmp_path)
    resumed = _trained(qwen, curriculum, tmp_path, interrupted_at=share)
    assert all(torch.allclose(whole[name], resumed[name], atol=1e-6) for name in whole)


def test_threads_change_nothing(qwen: SharedQwen, curriculum: Curriculum) -> None:
    """The parts of a step may be computed side by side or one after the other."""
    trained = []
    for threads in (1, 2):
        training = Training(copy.deepcopy(qwen.model), tokens=10_000, learning_rate=1e-3, threads=threads)
        training.run(curriculum, log=lambda _: None, check=lambda: None)
        trained.append(training.model.state_dict())
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])


def test_the_rate_climbs_and_falls_to_zero(qwen: SharedQwen) -> None:
    """The learning rate starts at zero, climbs, stays, and falls to zero at the end."""
    training = Training(qwen.model, tokens=1000, learning_rate=1e-3)
    assert training.rate == 0
    training.progress.steps = 100
    assert training.rate == pytest.approx(1e-3)
    training.progress.seen = 600
    assert training.rate == pytest.approx(1e-3)
    training.progress.seen = 800
    assert training.rate == pytest.approx(5e-4)
    training.progress.seen = 1000
    assert training.rate == 0


def test_what_begins_with_a_meaning_moves_slowly(qwen: SharedQwen, curriculum: Curriculum) -> None:
    """A step moves the embedding by a small part of what it moves other weights."""
    training = Training(copy.deepcopy(qwen.model), tokens=_TOKENS, learning_rate=1e-3)
    training.progress.steps = 100
    before = {name: weight.clone() for name, weight in training.model.named_parameters()}
    training._step(next(curriculum.pool(training.progress)))
    moved = {name: (weight - before[name]).abs().max() for name, weight in training.model.named_parameters()}
    slow = moved["model.embed_tokens.weight"] / moved["model.layers.0.mlp.down_proj.weight"]
    assert 0 < slow < 0.1


def test_what_only_replies_need_moves_fast(qwen: SharedQwen, curriculum: Curriculum) -> None:
    """The first step of Adam moves every weight by its learning rate."""
    training = Training(copy.deepcopy(qwen.model), tokens=_TOKENS, learning_rate=1e-3)
    training.progress.steps = 100
    before = {name: weight.clone() for name, weight in training.model.named_parameters()}
    training._step(next(curriculum.pool(training.progress)))
    moved = {name: (weight - before[name]).abs().max() for name, weight in training.model.named_parameters()}
    fast, usual = (moved[f"model.layers.{layer}.mlp.down_proj.weight"].item() for layer in (3, 1))
    assert fast == pytest.approx(5 * usual, rel=0.02)


def test_words_that_are_hardly_written_stay_in_the_output_layer(qwen: SharedQwen, curriculum: Curriculum) -> None:
    """Adam would move the rows of all words alike, however small their gradient."""
    model = copy.deepcopy(qwen.model)
    training = Training(model, tokens=_TOKENS, learning_rate=1e-3)
    training.progress.steps = 100
    before = model.lm_head.weight.clone()
    batches = next(curriculum.pool(training.progress))
    written = torch.cat([batch.tokens[batch.alone[batch.leaves]] for batch in batches]).unique()
    training._step(batches)
    moved = (model.lm_head.weight - before).abs().mean(1)
    others = torch.ones(len(moved), dtype=torch.bool).index_fill(0, written, False)
    assert moved[written].median() > 2 * moved[others].median() > 0


def test_the_average_is_in_place_only_meanwhile(qwen: SharedQwen, curriculum: Curriculum) -> None:
    """What is checked on the way is the average; the training goes on from its own weights."""
    training = Training(copy.deepcopy(qwen.model), tokens=_TOKENS, learning_rate=1e-3)
    for batch in curriculum.pool(training.progress):
        training._step(batch)
    own = {name: weight.clone() for name, weight in training.model.state_dict().items()}
    with training.averaged():
        averaged = {name: weight.clone() for name, weight in training.model.state_dict().items()}
    assert any(not torch.equal(own[name], averaged[name]) for name in own)
    assert all(torch.equal(own[name], weight) for name, weight in training.model.state_dict().items())
