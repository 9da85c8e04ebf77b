"""The folder of one training."""

import json
import shutil
from pathlib import Path
from typing import Any

import typer

from training import curves
from training.phases import PHASES

_SETTINGS, _LOG, _CURVES = "settings.json", "log.jsonl", "curves.png"
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
_MODEL_FILES = ("model.safetensors", "config.json", "generation_config.json", "capabilities.json", *_TOKENIZER_FILES)


class RunFolder:
    """Log, curves and checkpoints of a training, and the model as it was last checked.

    Args:
        path: created when the training begins.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self, *, resume: bool) -> None:
        """Refuse to overwrite a training, or to resume one that is not there.

        Raises:
            typer.BadParameter: the folder holds a training and ``resume`` is false, or the other way round.
        """
        kept = any(self.checkpoint(phase).is_file() for phase in PHASES)
        if kept and not resume:
            raise typer.BadParameter(f"{self.path} holds a training; --resume continues it, or choose another --run")
        if resume and not (kept and (self.path / _SETTINGS).is_file()):
            raise typer.BadParameter(f"{self.path} holds no training that could be resumed")

    def begin(self, settings: dict[str, Any], *, resume: bool) -> None:
        """Create the folder and keep what decides the result of a training.

        Raises:
            typer.BadParameter: a training that is resumed was begun with other settings.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        path = self.path / _SETTINGS
        if resume:
            begun = json.loads(path.read_text(encoding="utf-8"))
            for name, value in settings.items():
                if begun[name] != value:
                    told = f"{self.path} was begun with {name} {begun[name]}, not {value}; give the same"
                    raise typer.BadParameter(told)
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    def checkpoint(self, phase: str) -> Path:
        """Return the file from which a phase continues."""
        return self.path / f"{phase}.safetensors"

    def log(self, values: dict[str, Any]) -> None:
        """Print a line and append it to the log."""
        line = json.dumps(values, ensure_ascii=False)
        print(line, flush=True)
        with (self.path / _LOG).open("a", encoding="utf-8") as log:
            log.write(line + "\n")

    def draw_curves(self) -> None:
        """Draw the log so far."""
        curves.draw(self.path / _LOG, self.path / _CURVES)

    def ship(self, target: Path) -> None:
        """Copy the files of the model."""
        target.mkdir(parents=True, exist_ok=True)
        for name in _MODEL_FILES:
            shutil.copyfile(self.path / name, target / name)
