"""What is kept of int8 between two starts: the weights, and the verdict on them."""

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, get_args
from uuid import uuid4

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from qwen_allinone import settings
from qwen_allinone.model import int8, loading
from qwen_allinone.model.capabilities import Capabilities
from qwen_allinone.model.verdict import Staying, Verdict

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_FORMAT = 1
"""Raised when the probe or the tensors change: what was kept before counts no more."""
_SAMPLES, _SAMPLE = 256, 4096
"""Of a file of weights: how many places are looked at, and bytes at each."""


class Int8Shelf:
    """Where the verdict on a model and its int8 weights are kept, under a name made of what the model's files are.

    A folder that cannot be written costs the next start its time, and is said.
    """

    def __init__(self, folder: Path | None) -> None:
        """Of the folder with the model's files; None: they are not there yet, and neither is anything else."""
        self._folder = folder

    def verdict(self) -> Verdict | None:
        """What was kept; None: nothing, or nothing that can be read."""
        try:
            found = Verdict(**json.loads(self._verdict().read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return found if found.precision in ("fp32", "int8") and found.staying in get_args(Staying) else None

    def model(self, staying: Staying) -> "PreTrainedModel | None":
        """The model in the int8 weights that were kept; None: none, or none that can be used."""
        from transformers import AutoConfig

        try:
            tensors = load_file(self._weights(staying))
            config = AutoConfig.from_pretrained(str(self._folder), trust_remote_code=False)
            return int8.restored(config, tensors)
        except Exception:  # a broken file makes the libraries raise nearly anything; it is made anew
            return None

    def keep_verdict(self, verdict: Verdict) -> None:
        """For the next start."""
        text = json.dumps(asdict(verdict), indent=2) + "\n"
        self._keep(self._verdict, lambda path: path.write_text(text, encoding="utf-8"))

    def keep_model(self, model: "PreTrainedModel", staying: Staying) -> None:
        """For the next start; what was kept of earlier weights in the same folder is removed."""
        self._keep(lambda: self._weights(staying), lambda path: save_file(int8.tensors_of(model), path))
        if self._folder is not None:
            own = self._path()
            for earlier in own.parent.glob("*"):
                if earlier != own:
                    shutil.rmtree(earlier, ignore_errors=True)

    def _weights(self, staying: Staying) -> Path:
        return self._path() / f"int8-{staying.replace(' ', '-')}.safetensors"

    def _verdict(self) -> Path:
        """A verdict holds for the torch and the CPU that it was found with, and for what the model declares."""
        path = self._path()
        declared = Capabilities.of_folder(self._folder or path).model_dump_json()
        found_with = f"{torch.__version__} {torch.backends.cpu.get_cpu_capability()} {int8.input_levels()} {declared}"
        return path / f"verdict-{hashlib.sha256(found_with.encode()).hexdigest()[:8]}.json"

    def _path(self) -> Path:
        if self._folder is None:
            raise FileNotFoundError("the model's files")
        source = hashlib.sha256(str(self._folder.absolute()).encode()).hexdigest()[:16]
        return settings.cache() / "int8" / source / _digest(self._folder)

    def _keep(self, place: Callable[[], Path], write: Callable[[Path], object]) -> None:
        if self._folder is None:
            return
        path = place()
        unfinished = path.with_name(f".{uuid4().hex}-{path.name}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(unfinished)
            unfinished.replace(path)
        except (OSError, SafetensorError, RuntimeError, ValueError) as error:
            with suppress(OSError):
                unfinished.unlink()
            warnings.warn(
                f"{path.parent} cannot be written ({loading.first_line(error)}), so the next start takes as long; "
                "set QWEN_ALLINONE_CACHE to another folder",
                stacklevel=2,
            )


def _digest(folder: Path) -> str:
    """Of the configuration and the weights, of which so much is read as tells two trainings of one shape apart."""
    digest = hashlib.sha256(f"{_FORMAT} ".encode() + (folder / "config.json").read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            for place in range(0, size, max(_SAMPLE, size // _SAMPLES)):
                file.seek(place)
                digest.update(file.read(_SAMPLE))
    return digest.hexdigest()[:24]
