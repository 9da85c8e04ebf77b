"""First token vectors: which tokens stand near which, as positive pointwise mutual information, reduced by SVD."""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.utils.extmath import randomized_svd
from tokenizers import Tokenizer

Floats = NDArray[np.float32]

_WINDOW = 8
_RARITY = 3e-4


def token_vectors(tokenizer: Tokenizer, texts: list[str], *, dimension: int, seed: int) -> Floats:
    """A vector for every token; its length is the token's smooth inverse frequency. *Shape:* (tokens, dimension).

    Sources: Levy and Goldberg 2014 (PPMI and SVD), Arora et al. 2017 (smooth inverse frequency).
    """
    stream = _stream(tokenizer, texts)
    size = tokenizer.get_vocab_size()
    left, values, _ = randomized_svd(
        _information(_neighbour_counts(stream, size)), dimension, n_iter=3, random_state=seed
    )
    vectors = left * np.sqrt(values)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-9
    share = np.bincount(stream[stream >= 0], minlength=size) / max(1, int((stream >= 0).sum()))
    weighted: Floats = (vectors * (_RARITY / (_RARITY + share))[:, None]).astype(np.float32)
    return weighted


def _stream(tokenizer: Tokenizer, texts: list[str]) -> NDArray[np.int32]:
    """All token ids in a row, with gaps of -1 wide enough that no window crosses from text to text."""
    gap = np.full(_WINDOW, -1, dtype=np.int32)
    encoded = tokenizer.encode_batch(texts, add_special_tokens=False)
    return np.concatenate([part for text in encoded for part in (np.array(text.ids, dtype=np.int32), gap)])


def _neighbour_counts(stream: NDArray[np.int32], size: int) -> sp.csr_matrix:
    """Symmetric counts, weighted by one over the distance."""
    counts = sp.csr_matrix((size, size), dtype=np.float32)
    for distance in range(1, _WINDOW + 1):
        left, right = stream[:-distance], stream[distance:]
        inside = (left >= 0) & (right >= 0)
        weights = np.full(int(inside.sum()), 1 / distance, dtype=np.float32)
        counts = counts + sp.coo_matrix((weights, (left[inside], right[inside])), shape=(size, size)).tocsr()
    return counts + counts.T


def _information(counts: sp.csr_matrix) -> sp.csr_matrix:
    """Positive pointwise mutual information, context counts smoothed by the power of 0.75."""
    rows = np.asarray(counts.sum(axis=1)).ravel()
    contexts = rows**0.75
    cells = counts.tocoo()
    expected = rows[cells.row] * contexts[cells.col]
    values = np.log(cells.data * contexts.sum() / np.maximum(expected, 1e-9))
    kept = values > 0
    return sp.csr_matrix((values[kept].astype(np.float32), (cells.row[kept], cells.col[kept])), shape=counts.shape)
