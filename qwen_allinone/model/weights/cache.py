"""Quantized weights and the report on them, kept from one start to the next."""

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from qwen_allinone import settings
from qwen_allinone.model.engine.capabilities import Capabilities
from qwen_allinone.model.weights import int8, loading
from qwen_allinone.model.weights.report import QuantizationReport

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_FORMAT = 3
"""Raised when the self-test or the tensors change: what was kept before counts no more."""
_SAMPLES, _SAMPLE_BYTES = 256, 4096
"""Places of a file of weights that its digest reads, and bytes at each."""


class QuantizedWeightsCache:
    """Int8 weights of a model and the report on them, under a name made of the model's files.

    A folder that cannot be written costs the next start its time, and is said.

    Args:
        folder: with the model's files; None: they are not there yet, and nothing is kept.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def report(self) -> QuantizationReport | None:
        """Return the report that was kept; None if there is none, or none that can be read."""
        try:
            fields = json.loads(self._report_path().read_text(encoding="utf-8"))
            modules = tuple(map(str, fields.pop("modules_to_not_convert")))
            found = QuantizationReport(**fields, modules_to_not_convert=modules)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
        return found if found.dtype in ("fp32", "int8") else None

    def model(self, modules_to_not_convert: tuple[str, ...]) -> "PreTrainedModel | None":
        """Return the model in the int8 weights that were kept; None if there are none, or none that can be used."""
        from transformers import AutoConfig

        try:
            tensors = load_file(self._weights_path(modules_to_not_convert))
            config = AutoConfig.from_pretrained(str(self._folder), trust_remote_code=False)
            return int8.restored(config, tensors)
        except Exception:  # a broken file makes the libraries raise nearly anything; it is made anew
            return None

    def keep_report(self, report: QuantizationReport) -> None:
        """Keep the report for the next start."""
        text = json.dumps(asdict(report), indent=2) + "\n"
        self._keep(self._report_path, lambda path: path.write_text(text, encoding="utf-8"))

    def keep_model(self, model: "PreTrainedModel", modules_to_not_convert: tuple[str, ...]) -> None:
        """Keep int8 weights for the next start; those of earlier weights in the same folder are removed."""
        self._keep(
            lambda: self._weights_path(modules_to_not_convert), lambda path: save_file(int8.tensors_of(model), path)
        )
        if self._folder is not None:
            own = self._path()
            for earlier in own.parent.glob("*"):
                if earlier != own:
                    shutil.rmtree(earlier, ignore_errors=True)

    def _weights_path(self, modules_to_not_convert: tuple[str, ...]) -> Path:
        return self._path() / f"{'-'.join(('int8', *modules_to_not_convert))}.safetensors"

    def _report_path(self) -> Path:
        """Name a report after what it depends on: torch, the CPU, and what the model declares."""
        path = self._path()
        declared = Capabilities.from_folder(self._folder or path).model_dump_json()
        found_with = f"{torch.__version__} {torch.backends.cpu.get_cpu_capability()} {int8.input_levels()} {declared}"
        return path / f"report-{hashlib.sha256(found_with.encode()).hexdigest()[:8]}.json"

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
    """Digest the configuration and as much of the weights as tells two trainings of one shape apart."""
    digest = hashlib.sha256(f"{_FORMAT} ".encode() + (folder / "config.json").read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            for place in range(0, size, max(_SAMPLE_BYTES, size // _SAMPLES)):
                file.seek(place)
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:24]
