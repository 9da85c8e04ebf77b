"""The int8 layers of this package against those of torchao, on the same weights.

``Int8DynamicActivationInt8WeightConfig`` of torchao stands for the same scheme: int8 weights per output channel, int8
inputs per token. It is no dependency: ``pip install --no-deps torchao`` brings it. Interleaved in one run; medians and
ratios go to ``benchmarks/results/int8_layers.json``.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
import typer
from torch import nn

from benchmarks import interleaved
from benchmarks.interleaved import Model, Out, Rounds, Threads, result_file
from qwen_allinone.model.weights import int8, loading

_TOKEN, _READ = (1, 1), (8, 64)
"""*Shapes:* (rows, tokens), of one more token of a reply and of a pass over eight texts."""


def main(*, model: Model, rounds: Rounds = 7, threads: Threads = 2, out: Out = None) -> None:
    """Measure, print and write the result file."""
    torch.set_num_threads(threads)
    exact: Any = loading.load(loading.resolve(model), device="cpu", dtype=torch.float32).model
    models = {"fp32": exact, "int8": int8.quantized(exact), "torchao": _by_torchao(exact)}
    ways: dict[str, Callable[[tuple[int, int]], object]] = {}
    for name, each in models.items():
        ways[f"a token, {name}"] = _pass(each, _TOKEN)
        ways[f"8 texts of 64 tokens, {name}"] = _pass(each, _READ)
    with torch.inference_mode():
        seconds = interleaved.medians(ways, [_READ], rounds=rounds, before=lambda: None)
    interleaved.report(
        out or result_file("int8_layers"),
        seconds,
        base="a token, int8",
        compared={
            "a token, torchao to int8": ("a token, torchao", "a token, int8"),
            "8 texts, torchao to int8": ("8 texts of 64 tokens, torchao", "8 texts of 64 tokens, int8"),
        },
        model=str(exact.config.name_or_path).rpartition("/")[2],
        command=f"python -m benchmarks.int8_layers --model FOLDER --rounds {rounds} --threads {threads}",
        n=rounds,
        cut_to_half_largest_difference={name: _difference(each) for name, each in models.items()},
    )


def _by_torchao(exact: Any) -> Any:
    """Return a copy with torchao's layers; the output layer is untied first, as ours replaces it."""
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    model = copy.deepcopy(exact)
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())
    quantize_(model, Int8DynamicActivationInt8WeightConfig())
    return model


def _pass(model: Any, shape: tuple[int, int]) -> Callable[[object], object]:
    ids = torch.arange(shape[0] * shape[1]).reshape(shape) + 100
    return lambda _: model(input_ids=ids, logits_to_keep=1)


def _difference(model: Any) -> float:
    """Return the largest change of a logit when the tokens behind it are not in the pass: 0 but for rounding."""
    ids = torch.arange(40)[None] + 100
    with torch.inference_mode():
        whole, half = model(input_ids=ids).logits[:, :20], model(input_ids=ids[:, :20]).logits
    return round(float((whole - half).abs().max()), 6)


if __name__ == "__main__":
    typer.run(main)
