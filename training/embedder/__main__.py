"""``python -m training.embedder``: train the bundled embedder; one vector per token, a text is the mean of its tokens.

    python -m training.embedder --data DIR [--out FOLDER] [--seed 0]

A token's first vector is part its contexts, part noise, as long as the token is rare; then pairs of texts that
belong together are pulled towards each other and away from the rest of their batch. The first 64, 128 and 256
dimensions are trained to be vectors of their own. What is saved is the sum of the trained and the first vectors:
training learns what is said in other words, and forgets a little which rare words are the same (after Wortsman et al.,
2022, "Robust fine-tuning of zero-shot models").
"""

from pathlib import Path
from time import perf_counter
from typing import Annotated

import torch
import typer
from tokenizers import Tokenizer

from qwen_allinone.memory.embedder import bundled_folder
from training.embedder import retrieval_data
from training.embedder.contrast import EncodedPairs, contrast
from training.embedder.token_table import TokenTable, first_vectors
from training.embedder.tokenizer import train_tokenizer


def main(
    *,
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of gzipped JSON lines.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the model; by default inside the package.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
) -> None:
    """Train and save."""
    if missing := retrieval_data.missing(data):
        raise typer.BadParameter(f"{data} lacks the data sets {', '.join(missing)}")
    folder = out or bundled_folder()
    torch.manual_seed(seed)
    start = perf_counter()
    learned = retrieval_data.load(data, seed)
    tokenizer = train_tokenizer(learned.texts)
    vectors = first_vectors(tokenizer, learned.texts, learned.dictionary, seed=seed)
    print(f"first vectors after {perf_counter() - start:.0f} s", flush=True)
    table = TokenTable(tokenizer, vectors)
    contrast(table, [EncodedPairs.from_pairs(tokenizer, pairs) for pairs in learned.pairs.values()], seed=seed)
    save(tokenizer, table().detach() + torch.from_numpy(vectors), folder)
    print(f"trained in {perf_counter() - start:.0f} s")


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
    typer.run(main)
