"""In which numbers a model computes: as asked for, or what is fastest on the device without deciding otherwise.

On the CPU that is int8, once it has proven itself: on the first load the decisions of the probe are taken in fp32 and
in int8. Where they differ, more layers stay in fp32 until they do not, or all do. The verdict is kept with the weights
that come of it, so a second start reads those and nothing else.
"""

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import torch

from qwen_allinone.errors import CapabilityError, InputError, QwenAllInOneError
from qwen_allinone.model import int8, loading
from qwen_allinone.model.decision import Decision
from qwen_allinone.model.int8_shelf import Int8Shelf
from qwen_allinone.model.loading import LoadedModel
from qwen_allinone.model.verdict import DTYPES, Numbers, Staying, Verdict

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Precision = Literal["auto", Numbers]
_PRECISIONS = ("auto", *get_args(Numbers))
CLEAR_MARGIN = 0.05
"""Below this margin a decision is a toss-up, which rounding may turn over."""
_AGREEMENT = 0.99
_FEWEST_CLEAR = 20
_SMALL = 100_000_000
_STAYS: Mapping[Staying, tuple[str, ...]] = {
    "none": (),
    "output": ("lm_head",),
    "output and down": ("lm_head", "down_proj"),
}


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
        return loading.load(name, device=device, dtype=DTYPES[chosen]), Verdict(chosen, reason)
    shelf = Int8Shelf(loading.folder_of(name))
    verdict = Verdict("int8", "as asked for") if wanted == "int8" else shelf.verdict()
    if verdict is not None and verdict.precision == "int8" and (model := shelf.model(verdict.staying)) is not None:
        return loading.with_tokenizer(name, model), verdict
    found = loading.load(name, device=device, dtype=torch.float32)
    shelf = Int8Shelf(loading.folder_of(name))  # a name on the hub has its files only now
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
    return Verdict("fp32", against) if against else Int8Shelf(folder).verdict()


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
