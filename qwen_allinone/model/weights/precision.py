"""Loading in a precision: as asked for, or the fastest on the device that does not decide otherwise.

On the CPU that is int8, once it has proven itself: on the first load the self-test is taken in fp32 and in int8. Where
the decisions differ, more layers stay in fp32 until they do not, or all do. The report is kept with the weights that
come of it, so a second start reads those and nothing else.
"""

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum, log
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, get_args

import torch

from qwen_allinone.errors import CapabilityError, InputError, QwenAllInOneError
from qwen_allinone.model.weights import int8, loading
from qwen_allinone.model.weights.cache import QuantizedWeightsCache
from qwen_allinone.model.weights.loading import LoadedModel
from qwen_allinone.model.weights.report import TORCH_DTYPES, Dtype, QuantizationReport

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Precision = Literal["auto", "fp32", "int8", "bf16", "fp16"]
CLEAR_MARGIN = 0.05
"""Margin below which a decision is a toss-up, which rounding may turn over."""
MIN_AGREEMENT = 0.95
"""Share of the clear decisions of the self-test, of the scored and of the learned ones alike, that int8 must take as
fp32 does. On real weights a few of a hundred scored ones, of small margins, differ whichever layers stay in fp32."""
MIN_CLEAR = 20
"""Clear decisions without which int8 is not compared."""
MIN_PARAMETERS = 100_000_000
"""Size below which a model is quick as it is."""
_TINY = 1e-9
_MODULES_TO_NOT_CONVERT: tuple[tuple[str, ...], ...] = ((), ("down_proj",), ("lm_head", "down_proj"))
"""Tried in turn. The inputs of ``down_proj`` are where large models have outliers."""


class Answer(Protocol):
    """Answer to one question of the self-test."""

    @property
    def option(self) -> str:
        """Chosen option."""

    @property
    def margin(self) -> float | None:
        """Distance to the second best, in [0, 1]."""

    @property
    def method(self) -> str:
        """``scored``, ``learned`` or ``both``."""

    @property
    def probabilities(self) -> Mapping[str, float]:
        """Option to probability."""


SelfTest = Callable[[LoadedModel], Sequence[Answer]]
"""Takes the self-test with a model."""


def load_in_precision(
    name: str, *, device: str, precision: str, self_test: SelfTest
) -> tuple[LoadedModel, QuantizationReport]:
    """Load a resolved name.

    Args:
        name: a result of ``loading.resolve``.
        device: a torch device.
        precision: a ``Precision``; ``auto`` is int8 on a CPU where the model proves itself in it, else fp32; on other
            devices bf16, or fp16 where there is none.
        self_test: compares int8 with fp32.

    Raises:
        ModelNotFoundError: nothing can be loaded from there.
        InputError: there is no such device or precision.
        CapabilityError: int8 was asked for, and this device or torch has none.
    """
    if precision not in get_args(Precision):
        raise InputError(f"precision {precision!r} is unknown; allowed: {', '.join(get_args(Precision))}")
    on_cpu = device.startswith("cpu")
    if precision == "int8" and not (on_cpu and int8.available()):
        raise CapabilityError(f"int8 is not supported on {device} with torch {torch.__version__}; use precision='auto'")
    dtype = _fastest(device) if precision == "auto" else cast(Dtype, precision)
    if dtype != "int8":
        reason = f"the fastest on {device}" if precision == "auto" else "as asked for"
        return loading.load(name, device=device, dtype=TORCH_DTYPES[dtype]), QuantizationReport(dtype, reason)
    cache = QuantizedWeightsCache(loading.folder_of(name))
    report = QuantizationReport("int8", "as asked for") if precision == "int8" else cache.report()
    if report is not None and report.dtype == "int8":
        quantized = cache.model(report.modules_to_not_convert)
        if quantized is not None:
            return loading.with_tokenizer(name, quantized), report
    found = loading.load(name, device=device, dtype=torch.float32)
    cache = QuantizedWeightsCache(loading.folder_of(name))  # a name on the hub has its files only now
    if report is None:
        if reason_against := _reason_against(sum(weight.numel() for weight in found.model.parameters())):
            return found, QuantizationReport("fp32", reason_against)
        try:
            found, report = _tested(found, self_test)
        except (QwenAllInOneError, RuntimeError, MemoryError) as error:
            return found, QuantizationReport("fp32", f"int8 could not be tried: {loading.first_line(error)}")
        cache.keep_report(report)
    elif report.dtype == "int8":
        found = replace(found, model=_in_int8(found.model, report.modules_to_not_convert))
    if report.dtype == "int8":
        cache.keep_model(found.model, report.modules_to_not_convert)
        gc.collect()  # of the fp32 weights
    return found, report


def expected_report(folder: Path, parameters: int) -> QuantizationReport | None:
    """Return what ``auto`` comes to on the CPU, as far as that is known without loading; None: the first load tells.

    Args:
        folder: with the model's files.
        parameters: number of them.
    """
    reason = _reason_against(parameters)
    return QuantizationReport("fp32", reason) if reason else QuantizedWeightsCache(folder).report()


@dataclass(frozen=True)
class Agreement:
    """How answers in int8 compare with those in fp32."""

    agreed: int
    """Clear answers in fp32 that are the same in int8."""
    clear: int
    drift: float
    """Mean distance of the log-probabilities, in nats."""

    @classmethod
    def from_answers(cls, expected: Sequence[Answer], found: Sequence[Answer]) -> "Agreement":
        """Compare answers to the same questions, in the same order."""
        agreed = clear = 0
        distances: list[float] = []
        for one, other in zip(expected, found, strict=True):
            if (one.margin or 0.0) > CLEAR_MARGIN:
                clear += 1
                agreed += one.option == other.option
            for option, probability in one.probabilities.items():
                distances.append(abs(_log(probability) - _log(other.probabilities[option])))
        return cls(agreed, clear, fsum(distances) / max(1, len(distances)))

    @property
    def close(self) -> bool:
        """True if int8 decides as fp32 does."""
        return self.agreed >= MIN_AGREEMENT * self.clear


def _fastest(device: str) -> Dtype:
    """Return the fastest dtype of a device; on a CPU int8, which has yet to be tested."""
    if device.startswith("cpu"):
        return "int8"
    real = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if device.startswith("cuda") and real else "fp16"


def _reason_against(parameters: int) -> str | None:
    if not int8.available():
        return f"torch {torch.__version__} has no int8 operators for this CPU"
    if parameters < MIN_PARAMETERS:
        return f"models below {MIN_PARAMETERS // 10**6} million parameters are quick as they are"
    return None


def _tested(found: LoadedModel, self_test: SelfTest) -> tuple[LoadedModel, QuantizationReport]:
    """Return the model in int8 with as few layers in fp32 as it takes, or as it was."""
    expected, seconds = _timed(found, self_test)
    clear = Agreement.from_answers(expected, expected).clear
    if clear < MIN_CLEAR:
        reason = f"only {clear} decisions of the self-test are clear, too few to compare int8 by"
        return found, QuantizationReport("fp32", reason)
    for modules in _MODULES_TO_NOT_CONVERT:
        quantized = replace(found, model=_in_int8(found.model, modules))
        answers, taken = _timed(quantized, self_test)
        all_answers = Agreement.from_answers(expected, answers)
        figures: dict[str, Any] = {
            "agreed": all_answers.agreed,
            "clear": all_answers.clear,
            "drift": round(all_answers.drift, 4),
            "speedup": round(seconds / taken, 2),
        }
        # Fewer quantized layers are slower still, so there is no use in trying them.
        if taken >= seconds:
            return found, QuantizationReport("fp32", "int8 is no faster on this CPU", **figures)
        if all(each.close for each in _by_method(expected, answers)):
            return quantized, QuantizationReport("int8", "decides as fp32 does, and faster", modules, **figures)
    return found, QuantizationReport("fp32", "int8 decides otherwise too often", **figures)


def _by_method(expected: Sequence[Answer], found: Sequence[Answer]) -> list[Agreement]:
    """Compare scored answers with scored ones, and learned ones with learned ones."""
    agreements = []
    for method in {each.method for each in expected}:
        pairs = [pair for pair in zip(expected, found, strict=True) if pair[0].method == method]
        agreements.append(Agreement.from_answers([one for one, _ in pairs], [other for _, other in pairs]))
    return agreements


def _timed(found: LoadedModel, self_test: SelfTest) -> tuple[Sequence[Answer], float]:
    start = perf_counter()
    return self_test(found), perf_counter() - start


def _in_int8(model: "PreTrainedModel", modules_to_not_convert: tuple[str, ...]) -> "PreTrainedModel":
    return int8.quantized(model, modules_to_not_convert=modules_to_not_convert)


def _log(probability: float) -> float:
    return log(max(probability, _TINY))
