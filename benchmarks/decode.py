"""What a token of a reply costs: ours in fp32 and int8, and other engines with weights of the same shape.

A token costs what a reply takes beyond its prompt. Interleaved in one run; medians and ratios go to
``benchmarks/results/decode.json``.
"""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks import interleaved
from benchmarks.accuracy.figure import Target
from benchmarks.interleaved import Model, Out, Rounds, Threads, result_file
from benchmarks.naive import REPLY_TOKENS
from benchmarks.random_qwen import Random, measured
from benchmarks.turns import TEXT
from qwen_allinone.model import SharedQwen

_LLAMA = "llama.cpp"
Writes = Callable[[int], object]
"""Reads the prompt and writes so many tokens."""


def main(
    *,
    model: Model = "bundled",
    random: Random = None,
    gguf: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="For llama.cpp.")] = None,
    openvino: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="For OpenVINO, an .xml.")] = None,
    rounds: Rounds = 5,
    threads: Threads = 1,
    out: Out = None,
) -> None:
    """Measure, print and write the result file."""
    torch.set_num_threads(threads)
    with measured(model, random) as (name, told, options):
        exact, rounded = SharedQwen.load(name, precision="fp32"), SharedQwen.load(name, precision="int8")
    ids = _prompt(exact)
    engines = {"fp32": _ours(exact), "int8": _ours(rounded)}
    if gguf and _installed("llama_cpp"):
        engines[f"{_LLAMA}, {gguf.name}"] = _llama(gguf, ids, threads)
        options += f" --gguf {gguf.name}"
    if openvino and _installed("openvino"):
        engines[f"OpenVINO, {openvino.parent.name}"] = _openvino(openvino, ids, threads)
        options += f" --openvino {openvino.parent.name}/{openvino.name}"
    seconds = interleaved.medians(_ways(engines), [REPLY_TOKENS], rounds=rounds, before=lambda: _forget(exact, rounded))
    tokens = {name: length_normalized(seconds, name) for name in engines}
    interleaved.report(
        out or result_file("decode", random),
        tokens,
        base="int8",
        targets={name: Target(1) for name in tokens if name.startswith(_LLAMA)},
        model=told,
        command=f"python -m benchmarks.decode {options} --rounds {rounds} --threads {threads}",
        n=rounds,
        prompt_tokens=len(ids),
        reply_tokens=REPLY_TOKENS,
        all_ms={name: round(value * 1000, 2) for name, value in seconds.items()},
    )


def length_normalized(seconds: Mapping[str, float], engine: str) -> float:
    """Seconds that every token after the first one takes."""
    return (seconds[f"prompt and reply, {engine}"] - seconds[f"prompt, {engine}"]) / (REPLY_TOKENS - 1)


def _ways(engines: Mapping[str, Writes]) -> dict[str, Callable[[int], object]]:
    ways: dict[str, Callable[[int], object]] = {}
    for name, writes in engines.items():
        ways[f"prompt, {name}"] = lambda _, writes=writes: writes(1)  # type: ignore[misc]
        ways[f"prompt and reply, {name}"] = writes
    return ways


def _installed(package: str) -> bool:
    found = find_spec(package) is not None
    if not found:
        typer.echo(f"{package} is not installed, so it is left out")
    return found


def _prompt(qwen: SharedQwen) -> list[int]:
    """As many tokens as our own prompts have; which ones makes no difference to the time."""
    return (qwen.chat.encode(TEXT) * 4)[: qwen.generate(TEXT, max_new_tokens=1).prompt_tokens]


def _ours(qwen: SharedQwen) -> Writes:
    return lambda tokens: qwen.generate(TEXT, min_new_tokens=tokens, max_new_tokens=tokens)


def _llama(gguf: Path, ids: list[int], threads: int) -> Writes:
    from llama_cpp import Llama

    llama = Llama(str(gguf), n_ctx=1024, n_threads=threads, n_threads_batch=threads, verbose=False)

    def write(tokens: int) -> None:
        llama.reset()  # else it goes on from the last prompt
        for _ in islice(llama.generate(ids, temp=0.0), tokens):  # ends with no token of its own accord
            pass

    return write


def _openvino(exported: Path, ids: list[int], threads: int) -> Writes:
    import numpy as np
    import openvino

    compiled = openvino.compile_model(
        exported, "CPU", {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    )
    request = compiled.create_infer_request()

    def step(new: list[int], past: int) -> int:
        seen = past + len(new)
        given: dict[str, Any] = {
            "input_ids": np.array([new]),
            "attention_mask": np.ones((1, seen), dtype=np.int64),
            "position_ids": np.arange(past, seen)[None],
            "beam_idx": np.zeros(1, dtype=np.int32),
        }
        request.infer(given)
        return int(request.get_tensor("logits").data[0, -1].argmax())

    def write(tokens: int) -> None:
        request.reset_state()
        token = step(ids, 0)
        for place in range(len(ids), len(ids) + tokens - 1):
            token = step([token], place)

    return write


def _forget(*models: SharedQwen) -> None:
    for qwen in models:
        qwen.clear_cache()


if __name__ == "__main__":
    typer.run(main)
