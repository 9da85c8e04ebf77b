"""In which numbers a model computes: as asked for, or what is fastest on the device without deciding otherwise.

On the CPU that is int8, once it has proven itself: on the first load the decisions of the probe are taken in fp32 and
in int8. Where they differ, more layers stay in fp32 until they do not, or all do. The verdict is kept with the weights
that come of it, so a second start reads those and nothing else.
"""

import gc
import hashlib
import json
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, cast, get_args
from uuid import uuid4

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from qwen_allinone import settings
from qwen_allinone.errors import CapabilityError, InputError, QwenAllInOneError
from qwen_allinone.model import int8, loading
from qwen_allinone.model.decision import Decision
from qwen_allinone.model.loading import LoadedModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Numbers = Literal["fp32", "int8", "bf16", "fp16"]
Precision = Literal["auto", Numbers]
_PRECISIONS = ("auto", *get_args(Numbers))
Staying = Literal["none", "output", "output and down"]
"""Which linear layers stay in fp32. The inputs of the ``down_proj`` are where large models have outliers."""

CLEAR_MARGIN = 0.05
"""Below this margin a decision is a toss-up, which rounding may turn over."""
_AGREEMENT = 0.99
_FEWEST_CLEAR = 20
_SMALL = 100_000_000
_FORMAT = 1
"""Raised when the probe or the tensors change: what was kept before counts no more."""
_SAMPLES, _SAMPLE = 256, 4096
"""Of a file of weights: how many places are looked at, and bytes at each."""
_DTYPES: Mapping[Numbers, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_STAYS: Mapping[Staying, tuple[str, ...]] = {
    "none": (),
    "output": ("lm_head",),
    "output and down": ("lm_head", "down_proj"),
}


@dataclass(frozen=True)
class Verdict:
    """In which numbers a model computes, and why."""

    precision: Numbers
    reason: str
    staying: Staying = "none"
    """Of int8."""
    agreed: int | None = None
    """Clear decisions of the probe that int8 took as fp32 did; None: it was not asked."""
    clear: int | None = None
    speedup: float | None = None
    """Of the probe: seconds in fp32 by seconds in int8."""

    @classmethod
    def of(cls, model: "PreTrainedModel") -> "Verdict":
        """Of a model that came in memory, as it is."""
        if any(isinstance(part, int8.Int8Linear) for part in model.modules()):
            return cls("int8", "as given")
        known: dict[torch.dtype, Numbers] = {dtype: name for name, dtype in _DTYPES.items()}
        return cls(known.get(model.dtype, "fp32"), "as given")


Answers = Callable[[LoadedModel], Sequence[Decision]]
"""Takes the decisions of the probe."""


def load_precisely(name: str, *, device: str, wanted: str, answers: Answers) -> tuple[LoadedModel, Verdict]:
    """Load a resolved name in the numbers that are wanted.

    Args:
        name: what ``loading.resolve`` returned.
        device: a torch device.
        wanted: a ``Precision``; ``auto`` is int8 on a CPU where the model proves itself in it, else fp32; on other
            devices bf16, or fp16 where there is none.
        answers: takes the decisions of the probe.

    Raises:
        ModelNotFoundError: nothing can be loaded from there.
        InputError: there is no such device or precision.
        CapabilityError: int8 was asked for, and this device or torch has none.
    """
    if wanted not in _PRECISIONS:
        raise InputError(f"precision {wanted!r} is unknown; allowed: {', '.join(_PRECISIONS)}")
    on_cpu = device.startswith("cpu")
    if wanted == "int8" and not (on_cpu and int8.available()):
        raise CapabilityError(f"int8 is not to be had on {device} with torch {torch.__version__}; use precision='auto'")
    chosen = _fastest(device) if wanted == "auto" else cast(Numbers, wanted)
    if chosen != "int8":
        reason = f"the fastest on {device}" if wanted == "auto" else "as asked for"
        return loading.load(name, device=device, dtype=_DTYPES[chosen]), Verdict(chosen, reason)
    shelf = Shelf(loading.folder_of(name))
    verdict = Verdict("int8", "as asked for") if wanted == "int8" else shelf.verdict()
    if verdict is not None and verdict.precision == "int8" and (model := shelf.model(verdict.staying)) is not None:
        return loading.with_tokenizer(name, model), verdict
    found = loading.load(name, device=device, dtype=torch.float32)
    shelf = Shelf(loading.folder_of(name))  # a name on the hub has its files only now
    if verdict is None:
        if against := _why_not(sum(weight.numel() for weight in found.model.parameters())):
            return found, Verdict("fp32", against)
        try:
            found, verdict = _proven(found, answers)
        except (QwenAllInOneError, RuntimeError, MemoryError) as error:
            return found, Verdict("fp32", f"int8 could not be tried: {loading.first_line(error)}")
        shelf.keep_verdict(verdict)
    elif verdict.precision == "int8":
        found = replace(found, model=_int8(found.model, verdict.staying))
    if verdict.precision == "int8":
        shelf.keep_model(found.model, verdict.staying)
        gc.collect()  # of the fp32 weights
    return found, verdict


def outlook(folder: Path, parameters: int) -> Verdict | None:
    """What ``auto`` comes to on the CPU, as far as that can be said without loading; None: the first load tells.

    Args:
        folder: with the model's files.
        parameters: of the model.
    """
    against = _why_not(parameters)
    return Verdict("fp32", against) if against else Shelf(folder).verdict()


def agreement(expected: Sequence[Decision], found: Sequence[Decision]) -> tuple[int, int]:
    """How many of the clear decisions are the same, and how many are clear."""
    clear = [(one, other) for one, other in zip(expected, found, strict=True) if (one.margin or 0.0) > CLEAR_MARGIN]
    return sum(one.option == other.option for one, other in clear), len(clear)


def _fastest(device: str) -> Numbers:
    """On a CPU int8, which has yet to be proven."""
    if device.startswith("cpu"):
        return "int8"
    real = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if device.startswith("cuda") and real else "fp16"


def _why_not(parameters: int) -> str | None:
    if not int8.available():
        return f"torch {torch.__version__} has no int8 operators for this CPU"
    if parameters < _SMALL:
        return f"models below {_SMALL // 10**6} million parameters are quick as they are"
    return None


def _proven(found: LoadedModel, answers: Answers) -> tuple[LoadedModel, Verdict]:
    """The model in int8 with as few layers in fp32 as it takes, or as it was."""
    expected, seconds = _timed(found, answers)
    agreed, clear = agreement(expected, expected)
    if clear < _FEWEST_CLEAR:
        return found, Verdict("fp32", f"only {clear} decisions of the probe are clear, too few to compare int8 by")
    for staying in get_args(Staying):
        other = replace(found, model=_int8(found.model, staying))
        decided, taken = _timed(other, answers)
        agreed, _ = agreement(expected, decided)
        figures: dict[str, Any] = {"agreed": agreed, "clear": clear, "speedup": round(seconds / taken, 2)}
        if taken >= seconds:
            return found, Verdict("fp32", "int8 is no faster on this CPU", **figures)
        if agreed >= _AGREEMENT * clear:
            return other, Verdict("int8", "decides as fp32 does, and faster", staying, **figures)
    return found, Verdict("fp32", "int8 decides otherwise too often", **figures)


def _timed(found: LoadedModel, answers: Answers) -> tuple[Sequence[Decision], float]:
    start = perf_counter()
    return answers(found), perf_counter() - start


def _int8(model: "PreTrainedModel", staying: Staying) -> "PreTrainedModel":
    return int8.quantised(model, stays=lambda name: name.endswith(_STAYS[staying]))


class Shelf:
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
        return found if found.precision in ("fp32", "int8") and found.staying in _STAYS else None

    def model(self, staying: Staying) -> "PreTrainedModel | None":
        """The model in the int8 weights that were kept; None: none, or none that can be used."""
        from transformers import AutoConfig

        try:
            tensors = load_file(self._weights(staying))
            config = AutoConfig.from_pretrained(str(self._folder), trust_remote_code=False)
            return int8.restored(config, tensors)
        except (OSError, SafetensorError, ValueError, KeyError, RuntimeError, AttributeError):
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
        """A verdict holds for the torch and the CPU that it was found with."""
        found_with = f"{torch.__version__} {torch.backends.cpu.get_cpu_capability()} {int8.input_levels()}"
        return self._path() / f"verdict-{hashlib.sha256(found_with.encode()).hexdigest()[:8]}.json"

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
