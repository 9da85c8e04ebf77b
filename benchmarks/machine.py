"""What this machine can do at most: how fast it reads, and how fast it multiplies, in fp32 and in int8.

The layers are the widest of the 0.5B shape. To read a prompt is to multiply them with many tokens at once, which
arithmetic bounds; to write a token is to multiply them with one, and they are more than a processor's cache holds, so
memory bounds it. From these come the least milliseconds that a token of the 0.5B shape takes. Results go to
``benchmarks/results/machine.json``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import torch
import typer
from torch import nn
from transformers import Qwen2ForCausalLM

from benchmarks import interleaved
from benchmarks.interleaved import Out, Rounds, Threads, result_file
from benchmarks.random_qwen import SHAPE
from qwen_allinone.model.weights.int8 import Int8Linear, available

_LAYERS = 24
_WIDTH, _HEIGHT = SHAPE.hidden_size, SHAPE.intermediate_size
_BYTES = {"fp32": 4, "int8": 1}
"""Of a weight."""


def main(
    *,
    rounds: Rounds = 20,
    tokens: Annotated[int, typer.Option(min=1, help="That are read at once.")] = 256,
    megabytes: Annotated[int, typer.Option(min=1, help="That are read and copied.")] = 512,
    threads: Threads = 1,
    out: Out = None,
) -> None:
    """Measure, print and write the result file."""
    torch.set_num_threads(threads)
    with torch.inference_mode():
        seconds = interleaved.medians(_ways(megabytes), [tokens], rounds=rounds, before=lambda: None)
    kinds = [numbers for numbers in _BYTES if f"read tokens, {numbers}" in seconds]
    moved = {"sum": megabytes * 10**6, "copy": 2 * megabytes * 10**6}
    moved |= {f"write a token, {numbers}": _LAYERS * _WIDTH * _HEIGHT * _BYTES[numbers] for numbers in kinds}
    done = {f"read tokens, {numbers}": 2 * tokens * _LAYERS * _WIDTH * _HEIGHT for numbers in kinds}
    per_second = {name: amount / seconds[name] / 1e9 for name, amount in (moved | done).items()}
    interleaved.record(
        out or result_file("machine"),
        command=f"python -m benchmarks.machine --rounds {rounds} --tokens {tokens} --megabytes {megabytes} "
        f"--threads {threads}",
        n=rounds,
        conditions=interleaved.conditions(),
        median_ms={name: round(value * 1000, 2) for name, value in seconds.items()},
        gigabytes_per_second={name: round(per_second[name], 1) for name in moved},
        gigaflops_per_second={name: round(per_second[name], 1) for name in done},
        shape="0.5B",
        least_ms_per_token=least_milliseconds(
            bandwidth=max(per_second[name] for name in moved),
            arithmetic={numbers: per_second[f"read tokens, {numbers}"] for numbers in kinds},
        ),
    )


def least_milliseconds(*, bandwidth: float, arithmetic: Mapping[str, float]) -> dict[str, float]:
    """Return the least time of a token: each weight is read once to generate one, and used once to read one.

    Args:
        bandwidth: gigabytes per second.
        arithmetic: gigaflops per second, by numbers.
    """
    with torch.device("meta"):
        model = Qwen2ForCausalLM(SHAPE)
    weights = {name: part.weight.numel() for name, part in model.named_modules() if isinstance(part, nn.Linear)}
    every, output = sum(weights.values()), weights["lm_head"]
    written = {f"write a token, {numbers}": every * _BYTES[numbers] / bandwidth / 1e6 for numbers in arithmetic}
    read = {f"read tokens, {numbers}": 2 * (every - output) / rate / 1e6 for numbers, rate in arithmetic.items()}
    return {name: round(value, 2) for name, value in (written | read).items()}


def _ways(megabytes: int) -> dict[str, Callable[[int], object]]:
    memory = torch.rand(megabytes * 250_000)
    room = torch.empty_like(memory)
    exact = [nn.Linear(_WIDTH, _HEIGHT, bias=False) for _ in range(_LAYERS)]
    layers: dict[str, Sequence[nn.Module]] = {"fp32": exact}
    if available():
        layers["int8"] = [Int8Linear.from_linear(layer) for layer in exact]
    ways: dict[str, Callable[[int], object]] = {"sum": lambda _: memory.sum(), "copy": lambda _: room.copy_(memory)}
    for numbers, stack in layers.items():
        ways |= {f"read tokens, {numbers}": _through(stack), f"write a token, {numbers}": _one_through(stack)}
    return ways


def _through(layers: Sequence[nn.Module]) -> Callable[[int], object]:
    return lambda tokens: [layer(torch.ones(tokens, _WIDTH)) for layer in layers]


def _one_through(layers: Sequence[nn.Module]) -> Callable[[int], object]:
    through = _through(layers)
    return lambda _: through(1)


if __name__ == "__main__":
    typer.run(main)
