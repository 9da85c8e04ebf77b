"""Linear layers with int8 weights: a quarter of the memory to read, and integer arithmetic.

Weights are quantized per output channel, and the inputs per token as they come, so that what a layer says about a token
does not depend on what else is in the pass: what is read from the cache or in a batch is what it would be alone.
(``torch.ao`` quantizes all inputs of a pass together, and one token with outliers blurs the others.)

Everything that touches torch's quantized operators, whose removal is announced, is in this file; pyproject.toml bounds
torch, and without the operators models stay in fp32. ``Int8DynamicActivationInt8WeightConfig`` of torchao 0.18 is the
same scheme on ground that stays. Without compiling the model, a token of real Qwen2.5-Coder-0.5B-Instruct takes 2.1
times as long with it, and a pass over eight texts as long (``python -m benchmarks.int8_layers``), so it has not taken
the place of these layers; compiling costs minutes and a C++ compiler at the first start.
"""

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_ENGINE = "fbgemm"
_LEVELS = 127
_WEIGHT, _SCALES, _BIAS = "int8_weight", "int8_scales", "int8_bias"
_EMBEDDING = "half_embedding"


class Int8Linear(nn.Module):
    """A linear layer of int8 weights for fp32 inputs on the CPU.

    Args:
        weight: *Shape:* (out_features, in_features), int8.
        scales: of each output channel. *Shape:* (out_features,), fp32.
        bias: *Shape:* (out_features,), fp32.
    """

    def __init__(self, weight: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self._bias = bias
        zeros = torch.zeros(len(scales), dtype=torch.long)
        with _operators():
            channels = torch._make_per_channel_quantized_tensor(weight, scales.double(), zeros, 0)
            self._packed = torch.ops.quantized.linear_prepack(channels, None)
        self._levels = input_levels()

    @classmethod
    def from_linear(cls, linear: nn.Linear) -> "Int8Linear":
        """Return the nearest int8 layer."""
        weight = linear.weight.detach()
        scales = weight.abs().amax(1).clamp(min=1e-12) / _LEVELS
        rounded = (weight / scales[:, None]).round_().to(torch.int8)
        return cls(rounded, scales, None if linear.bias is None else linear.bias.detach().clone())

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Multiply. *Shape:* (..., in_features) to (..., out_features)."""
        # Scaled per token, so that an outlier in one token does not coarsen the others.
        largest = inputs.abs().amax(-1, keepdim=True).clamp_(min=1e-12)
        outputs = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            inputs / largest, 1 / self._levels, self._levels + 1, self._packed
        )
        outputs = outputs.mul_(largest)
        return outputs if self._bias is None else outputs.add_(self._bias)  # type: ignore[no-any-return]

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the layer's tensors, by the names that ``restored`` knows."""
        weight, _ = torch.ops.quantized.linear_unpack(self._packed)
        found = {_WEIGHT: weight.int_repr(), _SCALES: weight.q_per_channel_scales().float()}
        return found if self._bias is None else {**found, _BIAS: self._bias}

    def extra_repr(self) -> str:
        """Describe the layer as ``nn.Linear`` does."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self._bias is not None}"


class HalfEmbedding(nn.Module):
    """Token vectors kept in 16 bits and read in fp32; only where no value changes by it."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = weight.shape
        self.register_buffer(_EMBEDDING, weight, persistent=False)  # no parameter: the model's dtype stays fp32

    @classmethod
    def from_weight(cls, weight: torch.Tensor) -> "HalfEmbedding | None":
        """Return None if the vectors need all of their 32 bits; those of a model that was saved in 16 do not."""
        for kind in (torch.bfloat16, torch.float16):
            half = weight.detach().to(kind)
            if torch.equal(half.float(), weight):
                return cls(half)
        return None

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Look vectors up. *Shape:* (...) to (..., embedding_dim)."""
        return nn.functional.embedding(ids, self.get_buffer(_EMBEDDING)).float()


def available() -> bool:
    """Return True if this torch has the operators on this CPU."""
    try:
        with torch.inference_mode():
            layer = Int8Linear(torch.ones(1, 4, dtype=torch.int8), torch.ones(1))
            return bool(torch.isfinite(layer(torch.ones(1, 4))).all())
    except (AttributeError, RuntimeError, NotImplementedError):
        return False


def quantized(model: "PreTrainedModel", *, modules_to_not_convert: Sequence[str] = ()) -> "PreTrainedModel":
    """Return the model with int8 linear layers; everything else is shared with the original.

    Args:
        model: in fp32 on the CPU.
        modules_to_not_convert: ends of the names of linear layers that stay as they are.
    """
    tensors = [*model.parameters(), *model.buffers()]
    made = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
    for name, layer in _linears(made):
        if not name.endswith(tuple(modules_to_not_convert)):
            made.set_submodule(name, Int8Linear.from_linear(layer))
    embedding, output = cast(nn.Embedding, model.get_input_embeddings()), cast(Any, made).get_output_embeddings()
    # An output layer that stays in fp32 may be tied to the embedding, which then stays as it is.
    shared = isinstance(output, nn.Linear) and output.weight is embedding.weight
    if not shared and (half := HalfEmbedding.from_weight(embedding.weight)) is not None:
        made.set_input_embeddings(half)
    return made


def tensors_of(model: "PreTrainedModel") -> dict[str, torch.Tensor]:
    """Return everything that ``restored`` needs, by name."""
    found = {name: weight.detach() for name, weight in model.named_parameters()}
    for name, part in model.named_modules():
        if isinstance(part, Int8Linear):
            found |= {f"{name}.{key}": tensor for key, tensor in part.tensors().items()}
        elif isinstance(part, HalfEmbedding):
            found[f"{name}.{_EMBEDDING}"] = part.get_buffer(_EMBEDDING)
    return found


def restored(config: "PreTrainedConfig", tensors: dict[str, torch.Tensor]) -> "PreTrainedModel":
    """Return a model of int8 layers from the tensors of ``tensors_of``, without ever having its fp32 weights.

    Nothing of the tensors is held on to: they may belong to a file that is mapped as a whole.

    Raises:
        KeyError: tensors are missing.
        ValueError: one has another shape than the configuration says.
    """
    from transformers import AutoModelForCausalLM

    empty: Any = AutoModelForCausalLM
    with torch.device("meta"):
        model = empty.from_config(config, attn_implementation="sdpa", dtype=torch.float32)
    for name, linear in _linears(model):
        if f"{name}.{_WEIGHT}" in tensors:
            _check(name, tensors[f"{name}.{_WEIGHT}"], linear.weight)
            bias = tensors.get(f"{name}.{_BIAS}")
            layer = Int8Linear(
                tensors[f"{name}.{_WEIGHT}"], tensors[f"{name}.{_SCALES}"], None if bias is None else bias.clone()
            )
            model.set_submodule(name, layer)
    for name, half in tensors.items():
        if name.endswith(_EMBEDDING):
            _check(name, half, model.get_input_embeddings().weight)
            model.set_submodule(name.removesuffix(f".{_EMBEDDING}"), HalfEmbedding(half.clone()))
    for name, parameter in list(model.named_parameters()):
        _check(name, tensors[name], parameter)
        place, _, own = name.rpartition(".")
        setattr(model.get_submodule(place), own, nn.Parameter(tensors[name].clone(), requires_grad=False))
    for name, part in list(model.named_modules()):  # angles of positions are computed, not kept
        if any(buffer.is_meta for buffer in part.buffers(recurse=False)):
            model.set_submodule(name, type(part)(config=config))
    if model.config.tie_word_embeddings and isinstance(model.get_output_embeddings(), nn.Linear):
        model.get_output_embeddings().weight = model.get_input_embeddings().weight
    return model.eval()  # type: ignore[no-any-return]


def _check(name: str, tensor: torch.Tensor, wanted: torch.Tensor) -> None:
    if tensor.shape != wanted.shape:
        raise ValueError(f"{name} has the shape {tuple(tensor.shape)} instead of {tuple(wanted.shape)}")


def _linears(model: nn.Module) -> list[tuple[str, nn.Linear]]:
    return [(name, part) for name, part in model.named_modules() if type(part) is nn.Linear]


@contextmanager
def _operators() -> Iterator[None]:
    """Select the engine whose kernel knows the scale of the inputs, and silence the notice of its removal."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = _ENGINE
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message="torch.quantize_per_tensor.* are deprecated", category=UserWarning
            )
            yield
    finally:
        torch.backends.quantized.engine = before


@cache
def input_levels() -> int:
    """Return the steps from zero to the largest input: without VNNI the kernel adds two products in 16 bits."""
    found = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return _LEVELS if found.get("avx512_vnni") else _LEVELS // 2
