"""Trains the bundled embedder: one vector per token, a text is the mean of its tokens.

    python -m training.embedder --data DIR [--out FOLDER] [--seed 0]

A token's first vector is part the company it keeps, part noise, as long as the token is rare; then pairs of texts that
belong together are pulled towards each other and away from the rest of their batch. The first 64, 128 and 256
dimensions are trained to be vectors of their own. What is saved is the sum of the trained and the first vectors:
training learns what is said in other words, and forgets a little which rare words are the same (after Wortsman et al.,
2022, "Robust fine-tuning of zero-shot models"). The last thing printed is recall at 5 on the held-out tasks.
"""

import argparse
from pathlib import Path
from time import perf_counter

import torch
from tokenizers import Tokenizer

from qwen_allinone.memory.embedder import bundled_folder
from training import retrieval_data, retrieval_figures
from training.contrast import EncodedPairs, contrast
from training.embedder_tokenizer import train_tokenizer
from training.token_table import TokenTable, first_vectors


def main() -> None:
    """Train, save, and print how good it is."""
    parser = argparse.ArgumentParser(description="Train the bundled embedder.")
    parser.add_argument("--data", type=Path, required=True, help="folder of gzipped JSON lines")
    parser.add_argument("--out", type=Path, default=bundled_folder(), help="folder to write the model to")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    start = perf_counter()
    data = retrieval_data.load(given.data, given.seed)
    tokenizer = train_tokenizer(data.texts)
    vectors = first_vectors(tokenizer, data.texts, data.dictionary, seed=given.seed)
    print(f"first vectors after {perf_counter() - start:.0f} s", flush=True)
    table = TokenTable(tokenizer, vectors)
    contrast(table, [EncodedPairs.of(tokenizer, pairs) for pairs in data.pairs.values()], seed=given.seed)
    save(tokenizer, table().detach() + torch.from_numpy(vectors), given.out)
    print(f"trained in {perf_counter() - start:.0f} s")
    for name, tasks in (("chosen on", data.validation), ("measured on", data.test)):
        print(f"\n{name}\n\n{retrieval_figures.table(tasks, given.out)}", flush=True)


def save(tokenizer: Tokenizer, vectors: torch.Tensor, folder: Path) -> None:
    """Write a sentence-transformers folder with 16-bit weights; a model card that is there already is kept."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

    embedding = StaticEmbedding(tokenizer, embedding_weights=vectors.half())
    SentenceTransformer(modules=[embedding, Normalize()], device="cpu").save(str(folder), create_model_card=False)
    for path in folder.rglob("tokenizer.json"):
        tokenizer.save(str(path), pretty=False)
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o644)  # safetensors writes files that only their owner can read


if __name__ == "__main__":
    main()
