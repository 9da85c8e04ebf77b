"""The dtype a model computes in, and the reason for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from qwen_allinone.model.weights import int8

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Dtype = Literal["fp32", "int8", "bf16", "fp16"]
TORCH_DTYPES: Mapping[Dtype, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class QuantizationReport:
    """The dtype a model computes in, and the reason for it."""

    dtype: Dtype
    reason: str
    modules_to_not_convert: tuple[str, ...] = ()
    """Ends of the names of the linear layers that stay in fp32 where the others are int8."""
    agreed: int | None = None
    """Clear decisions of the self-test that int8 took as fp32 did; None: there was no self-test."""
    clear: int | None = None
    """Clear decisions of the self-test in fp32."""
    drift: float | None = None
    """Mean distance of the log-probabilities in int8 from those in fp32, over all options of the self-test, in nats."""
    speedup: float | None = None
    """Speed-up on the self-test: fp32 seconds / int8 seconds."""

    @classmethod
    def from_model(cls, model: "PreTrainedModel") -> "QuantizationReport":
        """Describe a model that came in memory."""
        if any(isinstance(part, int8.Int8Linear) for part in model.modules()):
            return cls("int8", "as given")
        known: dict[torch.dtype, Dtype] = {dtype: name for name, dtype in TORCH_DTYPES.items()}
        return cls(known.get(model.dtype, "fp32"), "as given")
