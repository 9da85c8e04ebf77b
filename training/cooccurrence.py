"""First token vectors: tokens of the same contexts lie close together before any training.

Positive pointwise mutual information of tokens within a window, reduced by truncated SVD (Levy and Goldberg, 2014,
"Neural Word Embedding as Implicit Matrix Factorization").
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from sklearn.utils.extmath import randomized_svd

_PIECE = 1_000_000


def token_vectors(
    texts: Iterable[Sequence[int]], *, size: int, width: int, window: int, seed: int
) -> NDArray[np.float32]:
    """Return the vectors of all tokens. *Shape:* (size, width), rows of unit length; unseen tokens are zero.

    Args:
        texts: token ids; no window crosses from one text to the next.
        size: of the vocabulary.
        width: of a vector.
        window: tokens to each side that count as context, the nearer the more.
        seed: of the decomposition.
    """
    counts = _counts(texts, size, window)
    vectors, strengths, _ = randomized_svd(_ppmi(counts), n_components=width, random_state=seed)
    vectors = vectors * np.sqrt(strengths)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-6), dtype=np.float32)


def _counts(texts: Iterable[Sequence[int]], size: int, window: int) -> csr_matrix:
    total = csr_matrix((size, size), dtype=np.float32)
    stream: list[int] = []
    for text in texts:
        stream += [*text, *[-1] * window]
        if len(stream) > _PIECE:
            total = total + _window_counts(np.asarray(stream), size, window)
            stream = []
    return total + _window_counts(np.asarray(stream), size, window)


def _window_counts(stream: NDArray[np.int64], size: int, window: int) -> csr_matrix:
    total = csr_matrix((size, size), dtype=np.float32)
    for distance in range(1, window + 1):
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
