"""The recipe makes a model that the toolkit loads."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer

from qwen_allinone.model import Choice, SharedQwen
from training import initialisation
from training.__main__ import main
from training.exclusions import Exclusions
from training.phases import PHASES
from training.recipe import in_training, train
from training.run_folder import RunFolder
from training.sizes import SHIPPED, Schedule, Size


def _schedule(tokens: int) -> Schedule:
    return Schedule(tokens=tokens, rate=1e-3, cooling=0.3, step=3000, checks=2)


TINY = Size(
    vocabulary=6000,
    width=96,
    inner=256,
    layers=3,
    heads=2,
    bag_of_words_steps=20,
    both=_schedule(2500),
    decisions=_schedule(250),
    replies=_schedule(1250),
)


def _train(run: RunFolder, *, resume: bool = False, seed: int = 0) -> None:
    run.check(resume=resume)
    train(TINY, run, data=None, exclusions=Exclusions.from_paths([]), threads=1, resume=resume, seed=seed)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a whole training of a tiny model."""
    run = RunFolder(tmp_path_factory.mktemp("trained") / "run")
    _train(run)
    return run.path


def test_the_recipe_writes_a_model_that_loads_and_decides(trained: Path, tmp_path: Path) -> None:
    """Tokenizer, weights and capabilities come out in the form in which they ship."""
    RunFolder(trained).ship(tmp_path / "out")
    qwen = SharedQwen.load(str(tmp_path / "out"))
    assert type(qwen.tokenizer).__name__.startswith("Qwen2Tokenizer")
    assert qwen.capabilities.summary == "leading"
    mood = Choice(instructions="情绪？", criteria={"正面": None, "负面": None})
    decision = qwen.decide("还行", {"mood": mood})["mood"]
    assert abs(sum(decision.probabilities.values()) - 1) < 1e-9
    assert json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))["model_type"] == "qwen2"
    assert not list(tmp_path.rglob("*.bin"))


def test_log_curves_and_checkpoints_stay_in_the_run_folder(trained: Path) -> None:
    """They tell how the training went, and let it continue."""
    assert any("accuracy" in json.loads(line) for line in (trained / "log.jsonl").read_text("utf-8").splitlines())
    assert {path.stem for path in trained.glob("*.safetensors")} == {*PHASES, "model"}
    assert (trained / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_training_that_is_resumed_goes_on_where_it_was(trained: Path, tmp_path: Path) -> None:
    """At its end nothing is left to train, and the weights stay the same; with other settings it is refused."""
    run = RunFolder(shutil.copytree(trained, tmp_path / "run"))
    weights, losses = (run.path / "model.safetensors").read_bytes(), _losses(run.path)
    with pytest.raises(typer.BadParameter, match="begun with seed 0, not 1"):
        _train(run, resume=True, seed=1)
    _train(run, resume=True)
    assert (run.path / "model.safetensors").read_bytes() == weights
    assert _losses(run.path) == losses


def _losses(run: Path) -> int:
    """Return how often the training told of its loss."""
    return sum("loss" in json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines())


def test_a_model_that_has_grown_declares_after_which_layers_it_decides(fresh: SharedQwen) -> None:
    """It decides by the layers it had before; a model that has not grown, by all."""
    model = copy.deepcopy(fresh.model)
    assert in_training(model, fresh.tokenizer).capabilities.decision_layers is None
    layers = len(model.model.layers)
    initialisation.grow(model)
    assert in_training(model, fresh.tokenizer).capabilities.decision_layers == layers < len(model.model.layers)


def test_the_model_fits_into_the_package() -> None:
    """It has no more weights than fit into 25 MB at two bytes each."""
    layer = 4 * SHIPPED.width**2 + 3 * SHIPPED.width * SHIPPED.inner
    assert 2 * (2 * SHIPPED.vocabulary * SHIPPED.width + (SHIPPED.layers + 2) * layer) < 24_900_000


def test_a_training_is_not_overwritten(trained: Path) -> None:
    """One clear line says what to do instead."""
    with pytest.raises(typer.BadParameter, match="--resume continues it"):
        main(run=trained)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"resume": True}, "no training"), ({"exclude": [Path("pyproject.toml")]}, "not a data file")],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_written(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """One clear line, and no folder."""
    with pytest.raises(typer.BadParameter, match=message):
        main(run=tmp_path / "run", out=tmp_path / "out", **options)
    assert not list(tmp_path.iterdir())
