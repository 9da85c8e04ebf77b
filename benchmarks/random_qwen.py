"""A model of the exact shape of Qwen2.5-0.5B with random weights: it costs what the real one costs, and says nothing.

For machines that cannot download the real weights. Its decisions are toss-ups, so ``precision="auto"`` leaves it in
fp32, and int8 has to be asked for. ``python -m benchmarks.random_qwen TOKENIZER FOLDER`` writes one for other programs.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import torch
import typer
from transformers import Qwen2Config, Qwen2ForCausalLM

SHAPE = Qwen2Config(
    vocab_size=151_936,
    hidden_size=896,
    intermediate_size=4864,
    num_hidden_layers=24,
    num_attention_heads=14,
    num_key_value_heads=2,
    max_position_embeddings=32_768,
    rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
    tie_word_embeddings=True,
)
"""Of Qwen2.5-0.5B."""
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt")

Random = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        file_okay=False,
        help="Folder of a Qwen2.5 tokenizer: a model of the 0.5B shape with random weights is measured.",
    ),
]
"""Option of the benchmarks that can measure it."""


@contextmanager
def measured(model: str, random: Path | None) -> Iterator[tuple[str, str, str]]:
    """Yield the name to load, the model's name in a result file, and the options that chose it."""
    if random is None:
        yield model, model, f"--model {model}"
        return
    with tempfile.TemporaryDirectory() as folder:
        write(random, Path(folder))
        yield folder, "0.5B shape, random weights", "--random TOKENIZER"


def write(tokenizer: Path, folder: Path) -> None:
    """Write the model, always the same one, and its tokenizer.

    Args:
        tokenizer: folder of a Qwen2.5 tokenizer.
        folder: where the model goes.
    """
    torch.manual_seed(0)
    Qwen2ForCausalLM(SHAPE).bfloat16().save_pretrained(folder)
    for name in _TOKENIZER_FILES:
        if (tokenizer / name).is_file():
            shutil.copyfile(tokenizer / name, folder / name)


if __name__ == "__main__":
    typer.run(write)
