"""A model of the exact shape of Qwen2.5-0.5B with random weights: it costs what the real one costs, and says nothing.

For machines that cannot download the real weights. Its decisions are toss-ups, so ``precision="auto"`` leaves it in
fp32, and int8 has to be asked for.
"""

import shutil
from pathlib import Path

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

_SHAPE = Qwen2Config(
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
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt")


def random_qwen(tokenizer: Path, folder: Path) -> Path:
    """The model in a folder, made unless it is there already (1 GB, seed 0).

    Args:
        tokenizer: folder with the tokenizer of Qwen2.5.
        folder: where the model goes.
    """
    if not (folder / "model.safetensors").is_file():
        torch.manual_seed(0)
        Qwen2ForCausalLM(_SHAPE).bfloat16().save_pretrained(folder)
        for name in _TOKENIZER_FILES:
            if (tokenizer / name).is_file():
                shutil.copyfile(tokenizer / name, folder / name)
    return folder
