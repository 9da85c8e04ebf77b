"""A start for the tied embedding: words that keep the same company lie close together before any training.

Positive pointwise mutual information of tokens within a window, reduced by truncated SVD (Levy and Goldberg, 2014,
"Neural Word Embedding as Implicit Matrix Factorization").
"""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix
from sklearn.utils.extmath import randomized_svd

_WINDOW = 5


def from_cooccurrence(sentences: Iterable[Sequence[int]], *, size: int, width: int, seed: int) -> np.ndarray:
    """Vectors of all tokens. *Shape:* (size, width), rows of unit length; unseen tokens are zero."""
    counts = _counts(sentences, size)
    vectors, strengths, _ = randomized_svd(_ppmi(counts), n_components=width, random_state=seed)
    vectors = vectors * np.sqrt(strengths)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-6), dtype=np.float32)


def _counts(sentences: Iterable[Sequence[int]], size: int) -> csr_matrix:
    total = csr_matrix((size, size), dtype=np.float32)
    stream: list[int] = []
    for sentence in sentences:
        stream += [*sentence, *[-1] * _WINDOW]
        if len(stream) > 1_000_000:
            total = total + _window_counts(np.asarray(stream), size)
            stream = []
    return total + _window_counts(np.asarray(stream), size)


def _window_counts(stream: np.ndarray, size: int) -> csr_matrix:
    total = csr_matrix((size, size), dtype=np.float32)
    for distance in range(1, _WINDOW + 1):
        left, right = stream[:-distance], stream[distance:]
        both = (left >= 0) & (right >= 0)
        pairs = coo_matrix(
            (np.full(both.sum(), 1 / distance, np.float32), (left[both], right[both])), shape=(size, size)
        ).tocsr()
        total = total + pairs + pairs.T
    return total


def _ppmi(counts: csr_matrix) -> csr_matrix:
    rows = np.asarray(counts.sum(axis=1)).ravel()
    columns = np.asarray(counts.sum(axis=0)).ravel() ** 0.75
    cells = counts.tocoo()
    information = np.log(
        np.maximum(cells.data * columns.sum() / np.maximum(rows[cells.row] * columns[cells.col], 1e-9), 1e-9)
    )
    kept = information > 0
    return coo_matrix((information[kept], (cells.row[kept], cells.col[kept])), shape=counts.shape).tocsr()
