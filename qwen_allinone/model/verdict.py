"""In which numbers a model computes, and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from qwen_allinone.model import int8

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Numbers = Literal["fp32", "int8", "bf16", "fp16"]
DTYPES: Mapping[Numbers, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
Staying = Literal["none", "output", "output and down"]
"""Which linear layers stay in fp32. The inputs of the ``down_proj`` are where large models have outliers."""


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
        known: dict[torch.dtype, Numbers] = {dtype: name for name, dtype in DTYPES.items()}
        return cls(known.get(model.dtype, "fp32"), "as given")
