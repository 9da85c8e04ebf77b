"""A training that was interrupted ends as if it had not been."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from qwen_allinone.model import SharedQwen
from training.batches import Batch
from training.curriculum import BOTH, DECISIONS, REPLIES, Curriculum, Stage
from training.example_builder import ExampleBuilder
from training.initialisation import decision_weights, grow, is_grown, language_weights
from training.sizes import Schedule
from training.sources import Item, Source
from training.train import Training

_TOKENS = 350_000
_STAGE = replace(BOTH[0], pace=1.0)


def _schedule(tokens: int = _TOKENS) -> Schedule:
    return Schedule(tokens=tokens, rate=1e-3, cooling=0.2, step=2000)


@pytest.fixture
def curriculum(qwen: SharedQwen) -> Curriculum:
    """Two small sources."""
    moods = [Item(f"text number {number} is {word}", "inputs", mood=word) for number in range(40) for word in _MOODS]
    talk = [Item(f"say {number}", "replies", routes=("chat",), reply=f"{number}!") for number in range(40)]
    sources = [Source("inputs", 0.5, moods), Source("replies", 0.5, talk)]
    return Curriculum(ExampleBuilder(qwen.chat, talk, text_tokens=40), sources, stages=BOTH, step_tokens=2000, seed=3)


_MOODS = ("positive", "negative")


class _InterruptedError(Exception):
    pass


def _trained(
    qwen: SharedQwen, curriculum: Curriculum, path: Path, *, interrupted_at: float | None
) -> dict[str, torch.Tensor]:
    def new() -> Training:
        return Training(copy.deepcopy(qwen.model), _schedule())

    def keep_and_stop() -> None:
        if training.progress.share < (interrupted_at or 0):
            return
        training.keep(path)
        raise _InterruptedError

    silent = SimpleNamespace(log=lambda _: None, check=lambda: None)
    training = new()
    if interrupted_at is not None:
        with pytest.raises(_InterruptedError):
            training.run(curriculum, log=silent.log, check=keep_and_stop)
        training = new()
        training.take_up(path)
        assert interrupted_at <= training.progress.share < 1
    training.run(curriculum, log=silent.log, check=silent.check)
    return dict(training.model.state_dict())


@pytest.mark.parametrize("share", [0.0, 0.9])
def test_a_resumed_training_gives_the_same_weights(
    qwen: SharedQwen, curriculum: Curriculum, tmp_path: Path, share: float
) -> None:
    """Weights, optimizer, average, learning rate and the order of the texts all go on where they were."""
    whole = _trained(qwen, curriculum, tmp_path / "state", interrupted_at=None)
    assert not list(tmp_path.iterdir())
    resumed = _trained(qwen, curriculum, tmp_path / "state", interrupted_at=share)
    assert all(torch.allclose(whole[name], resumed[name], atol=1e-6) for name in whole)


def test_threads_change_nothing(qwen: SharedQwen, curriculum: Curriculum) -> None:
    """The parts of a step may be computed side by side or one after the other."""
    trained = []
    for threads in (1, 2):
        training = Training(copy.deepcopy(qwen.model), _schedule(10_000), threads=threads)
        training.run(curriculum, log=lambda _: None, check=lambda: None)
        trained.append(training.model.state_dict())
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])


def test_the_rate_climbs_and_falls_to_zero(qwen: SharedQwen) -> None:
    """The learning rate starts at zero, climbs, stays, and falls to zero at the end."""
    training = Training(qwen.model, _schedule(1000))
    assert training.rate == 0
    training.progress.steps = 100
    assert training.rate == pytest.approx(1e-3)
    training.progress.seen = 700
    assert training.rate == pytest.approx(1e-3)
    training.progress.seen = 900
    assert training.rate == pytest.approx(5e-4)
    training.progress.seen = 1000
    assert training.rate == 0


def test_what_begins_with_a_meaning_moves_slowly(qwen: SharedQwen, curriculum: Curriculum) -> None:
    """A step moves the embedding by a small part of what it moves other weights."""
    training = Training(copy.deepcopy(qwen.model), _schedule())
    training.progress.steps = 100
    before = {name: weight.clone() for name, weight in training.model.named_parameters()}
    training._step(next(curriculum.pool(training.progress)), _STAGE)
    moved = {name: (weight - before[name]).abs().max() for name, weight in training.model.named_parameters()}
    slow = moved["model.embed_tokens.weight"] / moved["model.layers.0.mlp.down_proj.weight"]
    assert 0 < slow < 0.1


def test_the_model_grows_when_its_stage_begins(qwen: SharedQwen, curriculum: Curriculum) -> None:
    """From then on the learning rate climbs once more."""
    training = Training(copy.deepcopy(qwen.model), _schedule(120_000))
    layers, grown_after = len(training.model.model.layers), []

    def step(parts: Sequence[Batch], stage: Stage) -> float:
        grown_after.append((training.progress.share, is_grown(training.model.config), training.rate))
        return took(parts, stage)

    took, training._step = training._step, step  # type: ignore[method-assign]
    training.run(curriculum, log=lambda _: None, check=lambda: None)
    assert len(training.model.model.layers) == layers + 2
    begun = next(share for share, grown, _ in grown_after if grown)
    assert BOTH[[stage.grown for stage in BOTH].index(True) - 1].until <= begun < 1
    assert [grown for _, grown, _ in grown_after] == sorted(grown for _, grown, _ in grown_after)
    assert next(rate for _, grown, rate in grown_after if grown) == 0


def test_the_pace_of_a_stage_moves_what_was_added_and_nothing_else(qwen: SharedQwen, curriculum: Curriculum) -> None:
    """The first step of Adam moves every weight by its learning rate."""
    model, moved = copy.deepcopy(qwen.model), {}
    grow(model)
    for pace in (1.0, 5.0):
        training = Training(copy.deepcopy(model), _schedule())
        training.progress.steps = 100
        before = {name: weight.clone() for name, weight in training.model.named_parameters()}
        training._step(next(curriculum.pool(training.progress)), replace(_STAGE, pace=pace))
        after = dict(training.model.named_parameters())
        moved[pace] = {name: (after[name] - weight).abs().max().item() for name, weight in before.items()}
    last = len(model.model.layers) - 1
    for name, fold in ((f"model.layers.{last}.mlp.down_proj.weight", 5), ("model.layers.0.mlp.down_proj.weight", 1)):
        assert moved[5.0][name] == pytest.approx(fold * moved[1.0][name], rel=0.02)


def test_replies_alone_leave_the_decisions_as_they_are(qwen: SharedQwen) -> None:
    """Only what was added for them moves, not even the norm that decisions are read through."""
    talk = [Item(f"say {number}", "replies", reply=f"{number}!") for number in range(40)]
    builder = ExampleBuilder(qwen.chat, talk, text_tokens=40)
    alone = Curriculum(builder, [Source("replies", 1, talk)], stages=REPLIES, step_tokens=2000, seed=3)
    model = copy.deepcopy(qwen.model)
    layers = len(model.model.layers)
    grow(model)
    training = Training(model, _schedule(6000), learners=language_weights)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    training.run(alone, log=lambda _: None, check=lambda: None)
    moved = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    added = tuple(f"model.layers.{layer}." for layer in range(layers, len(model.model.layers)))
    assert {"lm_head.weight", f"{added[0]}mlp.up_proj.weight"} < moved
    assert all(name.startswith((*added, "lm_head.")) for name in moved)


def test_decisions_alone_leave_what_was_added_for_replies_as_it_is(qwen: SharedQwen) -> None:
    """All that they are read through learns: the embedding, the layers before those for replies, and the norm."""
    moods = [Item(f"text number {number} is {word}", "inputs", mood=word) for number in range(40) for word in _MOODS]
    builder = ExampleBuilder(qwen.chat, [], text_tokens=40)
    alone = Curriculum(builder, [Source("inputs", 1, moods)], stages=DECISIONS, step_tokens=2000, seed=3)
    model = copy.deepcopy(qwen.model)
    layers = len(model.model.layers)
    grow(model)
    training = Training(model, _schedule(6000), learners=decision_weights)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    training.run(alone, log=lambda _: None, check=lambda: None)
    added = tuple(f"model.layers.{layer}." for layer in range(layers, len(model.model.layers)))
    for name, weight in model.named_parameters():
        assert torch.equal(weight, before[name]) is name.startswith((*added, "lm_head.")), name


def test_words_that_are_hardly_written_stay_in_the_output_layer(qwen: SharedQwen, curriculum: Curriculum) -> None:
    """Adam would move the rows of all words alike, however small their gradient."""
    model = copy.deepcopy(qwen.model)
    grow(model)
    training = Training(model, _schedule())
    training.progress.steps = 100
    before = model.lm_head.weight.clone()
    batches = next(curriculum.pool(training.progress))
    written = torch.cat([batch.tokens for batch in batches]).unique()
    training._step(batches, _STAGE)
    moved = (model.lm_head.weight - before).abs().mean(1)
    others = torch.ones(len(moved), dtype=torch.bool).index_fill(0, written, False)
    assert moved[written].median() > 2 * moved[others].median() > 0


def test_the_average_is_in_place_only_meanwhile(qwen: SharedQwen, curriculum: Curriculum) -> None:
    """The average is checked on the way; the training goes on from its own weights."""
    training = Training(copy.deepcopy(qwen.model), _schedule())
    for batch in curriculum.pool(training.progress):
        training._step(batch, _STAGE)
    own = {name: weight.clone() for name, weight in training.model.state_dict().items()}
    with training.averaged():
        averaged = {name: weight.clone() for name, weight in training.model.state_dict().items()}
    assert any(not torch.equal(own[name], averaged[name]) for name in own)
    assert all(torch.equal(own[name], weight) for name, weight in training.model.state_dict().items())
