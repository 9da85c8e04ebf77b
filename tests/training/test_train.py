"""A training that was interrupted ends as if it had not been."""

import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from qwen_allinone.model import SharedQwen
from training.circuit import language_weights
from training.curriculum import BOTH, REPLIES, Curriculum
from training.lessons import Teacher
from training.sources import Item, Source
from training.train import Training

_TOKENS = 350_000


@pytest.fixture
def phases(qwen: SharedQwen) -> dict[str, Curriculum]:
    """Two small sources, for decisions and replies together and for replies alone."""
    moods = [Item(f"text number {number} is {word}", "inputs", mood=word) for number in range(40) for word in _MOODS]
    talk = [Item(f"say {number}", "replies", routes=("chat",), reply=f"{number}!") for number in range(40)]
    sources, teacher = (
        [Source("inputs", 0.5, moods), Source("replies", 0.5, talk)],
        Teacher(qwen.chat, talk, text_tokens=40),
    )
    return {
        "both": Curriculum(teacher, sources, stages=BOTH, step_tokens=2000, seed=3),
        "replies": Curriculum(teacher, sources[1:], stages=REPLIES, step_tokens=2000, seed=3),
    }


_MOODS = ("positive", "negative")


class _InterruptedError(Exception):
    pass


def _new(qwen: SharedQwen, phase: str, *, tokens: int = _TOKENS, threads: int = 1) -> Training:
    model = copy.deepcopy(qwen.model)
    weights = language_weights(model) if phase == "replies" else list(model.parameters())
    training = Training(model, weights, tokens=tokens, learning_rate=1e-3, threads=threads)
    training.progress.steps = 100  # the learning rate has climbed
    return training


def _trained(
    qwen: SharedQwen, phase: str, curriculum: Curriculum, path: Path, *, interrupted: bool
) -> dict[str, torch.Tensor]:
    def keep_and_stop() -> None:
        training.keep(path)
        raise _InterruptedError

    silent = SimpleNamespace(log=lambda _: None, check=lambda: None)
    training = _new(qwen, phase)
    if interrupted:
        with pytest.raises(_InterruptedError):
            training.run(curriculum, log=silent.log, check=keep_and_stop)
        training = _new(qwen, phase)
        training.take_up(path)
        assert 0 < training.progress.share < 1
    training.run(curriculum, log=silent.log, check=silent.check)
    return dict(training.model.state_dict())


@pytest.mark.parametrize("phase", ["both", "replies"])
def test_a_resumed_training_gives_the_same_weights(
    qwen: SharedQwen, phases: dict[str, Curriculum], tmp_path: Path, phase: str
) -> None:
    """Weights, optimizer, average, learning rate and the order of the texts all go on where they were."""
    whole = _trained(qwen, phase, phases[phase], tmp_path / "kept", interrupted=False)
    assert not list(tmp_path.iterdir())
    resumed = _trained(qwen, phase, phases[phase], tmp_path / "kept", interrupted=True)
    assert all(torch.allclose(whole[name], resumed[name], atol=1e-6) for name in whole)


def test_replies_alone_leave_the_decisions_as_they_are(qwen: SharedQwen, phases: dict[str, Curriculum]) -> None:
    """Only the layers behind those that decide and the output layer move."""
    training = _new(qwen, "replies")
    before = {name: weight.clone() for name, weight in training.model.named_parameters()}
    training._step(next(phases["replies"].pool(training.progress)))
    moved = {name for name, weight in training.model.named_parameters() if not torch.equal(weight, before[name])}
    assert {"lm_head.weight", "model.layers.2.mlp.up_proj.weight"} < moved
    assert all(name.startswith(("model.layers.2.", "model.layers.3.", "lm_head.")) for name in moved)


def test_what_only_replies_need_moves_fast(qwen: SharedQwen, phases: dict[str, Curriculum]) -> None:
    """The first step of Adam moves every weight by its learning rate."""
    training = _new(qwen, "both")
    before = {name: weight.clone() for name, weight in training.model.named_parameters()}
    training._step(next(phases["both"].pool(training.progress)))
    moved = {name: (weight - before[name]).abs().max() for name, weight in training.model.named_parameters()}
    fast, usual = (moved[f"model.layers.{layer}.mlp.down_proj.weight"].item() for layer in (3, 1))
    assert fast == pytest.approx(5 * usual, rel=0.02)


def test_threads_change_nothing(qwen: SharedQwen, phases: dict[str, Curriculum]) -> None:
    """The parts of a step may be computed side by side or one after the other."""
    trained = []
    for threads in (1, 2):
        training = _new(qwen, "both", tokens=10_000, threads=threads)
        training.run(phases["both"], log=lambda _: None, check=lambda: None)
        trained.append(training.model.state_dict())
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])


def test_the_rate_climbs_and_falls_to_zero(qwen: SharedQwen) -> None:
    """The learning rate starts at zero, climbs, stays, and falls to zero at the end."""
    training = _new(qwen, "both", tokens=1000)
    training.progress.steps = 0
    assert training.rate == 0
    training.progress.steps = 100
    assert training.rate == pytest.approx(1e-3)
    training.progress.seen = 600
    assert training.rate == pytest.approx(1e-3)
    training.progress.seen = 800
    assert training.rate == pytest.approx(5e-4)
    training.progress.seen = 1000
    assert training.rate == 0


def test_what_begins_with_a_meaning_moves_slowly(qwen: SharedQwen, phases: dict[str, Curriculum]) -> None:
    """A step moves the embedding by a small part of what it moves other weights."""
    training = _new(qwen, "both")
    before = {name: weight.clone() for name, weight in training.model.named_parameters()}
    training._step(next(phases["both"].pool(training.progress)))
    moved = {name: (weight - before[name]).abs().max() for name, weight in training.model.named_parameters()}
    slow = moved["model.embed_tokens.weight"] / moved["model.layers.0.mlp.down_proj.weight"]
    assert 0 < slow < 0.1


def test_words_that_are_hardly_written_stay_in_the_output_layer(
    qwen: SharedQwen, phases: dict[str, Curriculum]
) -> None:
    """Adam would move the rows of all words alike, however small their gradient."""
    training = _new(qwen, "replies")
    before = training.model.lm_head.weight.clone()
    batches = next(phases["replies"].pool(training.progress))
    training._step(batches)
    written = torch.cat([batch.tokens for batch in batches]).unique()
    moved = (training.model.lm_head.weight - before).abs().mean(1)
    others = torch.ones(len(moved), dtype=torch.bool).index_fill(0, written, False)
    assert 0.75 * moved[written].median() > moved[others].median() > 0


def test_the_average_is_in_place_only_meanwhile(qwen: SharedQwen, phases: dict[str, Curriculum]) -> None:
    """What is checked on the way is the average; the training goes on from its own weights."""
    training = _new(qwen, "both")
    for batch in phases["both"].pool(training.progress):
        training._step(batch)
    own = {name: weight.clone() for name, weight in training.model.state_dict().items()}
    with training.averaged():
        averaged = {name: weight.clone() for name, weight in training.model.state_dict().items()}
    assert any(not torch.equal(own[name], averaged[name]) for name in own)
    assert all(torch.equal(own[name], weight) for name, weight in training.model.state_dict().items())
