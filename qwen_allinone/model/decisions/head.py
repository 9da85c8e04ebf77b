"""A linear head on hidden states: closed-form ridge regression, with exact leave-one-out predictions.

Regressing on the indicator of the class is least-squares classification (Rifkin and Klautau, 2004). One decomposition
gives the fit for every strength of the penalty, and the prediction for each example by the head that was fitted without
it: a head is judged on what it has not seen, at no cost.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Strengths of the penalty that are tried; features have unit length on average."""
TAKEN = 0.05
"""Share of the examples of other classes that classes without examples may take away."""
STEEPNESS = 2.0
"""Change of the log-odds of being taken by one standard deviation of likeness."""
CHOOSINESS = 6.0
"""The same between two that take: high, or the share of many would be too small for any of them to win."""
_SHARPNESS = np.geomspace(0.5, 100, 30)
"""Factors tried on the regression's outputs before the softmax."""
_TINY = 1e-6


@dataclass(frozen=True, eq=False)
class Head:
    """Weights that turn features into probabilities of classes."""

    center: NDArray[np.float32]
    """Subtracted from the features. *Shape:* (width,)."""
    weights: NDArray[np.float32]
    """Scale of the features included. *Shape:* (width, classes)."""
    bias: NDArray[np.float32]
    """*Shape:* (classes,)."""
    usual: NDArray[np.float32]
    """Highest outputs for the examples, out of fold, in ascending order. *Shape:* (101,)."""
    sharpness: float
    """Inverse temperature of the softmax, fitted out of fold."""

    def outputs(self, features: NDArray[np.float32]) -> Array:
        """Return the regression's outputs, near one for the right class.

        *Shape:* (texts, width) to (texts, classes).
        """
        outputs: Array = (features - self.center) @ self.weights + self.bias
        return outputs

    def probabilities(self, features: NDArray[np.float32]) -> Array:
        """Return those of every class. *Shape:* (texts, width) to (texts, classes)."""
        return softmax(self.outputs(features), self.sharpness)

    def typicality(self, features: NDArray[np.float32]) -> Array:
        """Return the share of the examples that are less like any class than each text is, in [0, 1].

        This is a conformal p-value (Vovk et al., 2005): of texts like the examples, a share of 0.05 lies below 0.05.
        *Shape:* (texts, width) to (texts,).
        """
        return _typicality(self.outputs(features), self.usual)


@dataclass(frozen=True, eq=False)
class FittedHead:
    """A head, and its predictions for each example by a head that was fitted without that example."""

    head: Head
    probabilities: Array
    """Out of fold. *Shape:* (examples, classes)."""
    typicality: Array
    """Out of fold. *Shape:* (examples,)."""
    accuracy: float
    """Out of fold, every class counting alike."""
    log_loss: float
    """Out of fold, in nats, every class counting alike."""


def fit_head(
    features: NDArray[np.float32],
    classes: NDArray[np.int_],
    judged: NDArray[np.bool_],
    times: NDArray[np.float64] | None = None,
) -> FittedHead:
    """Fit a head; the penalty and the sharpness are those of the least log loss out of fold.

    Every class weighs the same, however many examples it has; within it, an example weighs as often as it is given.

    Args:
        features: of the examples. *Shape:* (examples, width).
        classes: of each example, from 0; each class has at least one.
        judged: True for the examples whose predictions out of fold count; a class with a single example has none.
        times: number of times that each example was given; by default once. *Shape:* (examples,).
    """
    labels, own = classes, np.ones(len(classes)) if times is None else times
    counts = np.bincount(labels, own)
    # Weighted least squares is plain least squares on rows multiplied by the roots of their weights.
    weights = own * (own.sum() / len(counts) / counts)[labels]
    root = np.sqrt(weights)[:, None]
    share = weights / weights.sum()
    counted = share * judged / (share @ judged)
    center = features.mean(0)
    scale = 1.0 / ((features.std(0) + _TINY) * np.sqrt(features.shape[1]))
    scaled = (features - center) * scale
    middle = share @ scaled
    targets = np.eye(len(counts))[labels]
    base = share @ targets
    rows, wanted = root * (scaled - middle), root * (targets - base)
    left, right, squares = _decomposed(rows)
    projected = left.T @ wanted
    best: FittedHead | None = None
    for penalty in PENALTIES:
        kept = squares / (squares + penalty)
        fitted = left @ (kept[:, None] * projected)
        # Exact for linear smoothers: the residual without an example is its residual by one minus its leverage.
        leverage = np.minimum(left**2 @ kept + share, 1 - _TINY)[:, None]
        without = (wanted - (wanted - fitted) / (1 - leverage)) / root + base
        sharpness, log_loss = _sharpest(without, labels, counted)
        if best is None or log_loss < best.log_loss:
            solution = right @ ((kept / np.sqrt(squares))[:, None] * projected)
            usual = np.quantile(without.max(1)[judged], np.linspace(0, 1, 101)).astype(np.float32)
            head = Head(
                center.astype(np.float32),
                (scale[:, None] * solution).astype(np.float32),
                (base - middle @ solution).astype(np.float32),
                usual,
                sharpness,
            )
            accuracy = float(counted @ (without.argmax(1) == labels))
            best = FittedHead(head, softmax(without, sharpness), _typicality(without, usual), accuracy, log_loss)
    assert best is not None
    return best


@dataclass(frozen=True, eq=False)
class Described:
    """Classes without examples, known by the features of their descriptions.

    A text goes to one of them where it is more like its description than nearly all examples of the other classes are.
    """

    center: NDArray[np.float32]
    """*Shape:* (width,)."""
    directions: NDArray[np.float32]
    """Scaled features of each description. *Shape:* (width, classes)."""
    usual: NDArray[np.float32]
    """Mean and standard deviation of the likeness of the examples to each. *Shape:* (2, classes)."""
    bound: float
    """Likeness, in standard deviations, from which a text goes to one of them."""
    scale: NDArray[np.float32]
    """*Shape:* (width,)."""

    @classmethod
    def from_features(cls, descriptions: NDArray[np.float32], examples: NDArray[np.float32]) -> "Described":
        """Set the bound so that few of the examples, which belong to other classes, are taken away.

        Args:
            descriptions: their features. *Shape:* (classes, width).
            examples: features of the examples of all other classes. *Shape:* (examples, width).
        """
        center, scale = examples.mean(0), 1.0 / (examples.std(0) + _TINY)
        directions = _unit((descriptions - center) * scale).T
        unbound = cls(center, directions, np.array([[0.0], [1.0]], np.float32), 0.0, scale)
        likeness = unbound.likeness(examples)
        usual = np.stack([likeness.mean(0), likeness.std(0) + _TINY])
        highest = ((likeness - usual[0]) / usual[1]).max(1)
        return cls(center, directions, usual, float(np.quantile(highest, 1 - TAKEN)), scale)

    def likeness(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the cosine to each description, in standard deviations above the mean of the examples."""
        cosines = _unit((features - self.center) * self.scale) @ self.directions
        likeness: NDArray[np.float32] = (cosines - self.usual[0]) / self.usual[1]
        return likeness

    def probabilities(self, features: NDArray[np.float32]) -> Array:
        """Return those of each class; what is left to one is the share of the classes with examples.

        *Shape:* (texts, width) to (texts, classes).
        """
        likeness = self.likeness(features)
        taken = 1 / (1 + np.exp(-STEEPNESS * (likeness.max(1, keepdims=True) - self.bound)))
        probabilities: Array = taken * softmax(likeness.astype(np.float64), CHOOSINESS)
        return probabilities


def _typicality(outputs: NDArray[Any], usual: NDArray[np.float32]) -> Array:
    shares: Array = np.searchsorted(usual, outputs.max(1), side="right") / len(usual)
    return shares


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + _TINY)
    return unit


def softmax(scores: Array, sharpness: float = 1.0) -> Array:
    """Return probabilities. *Shape:* (texts, classes)."""
    scaled = scores * sharpness
    powers = np.exp(scaled - scaled.max(1, keepdims=True))
    probabilities: Array = powers / powers.sum(1, keepdims=True)
    return probabilities


def _decomposed(rows: NDArray[np.float32]) -> tuple[Array, Array, Array]:
    """Return the singular vectors of both sides and the squared singular values, by the smaller Gram matrix."""
    by_examples = rows.shape[0] <= rows.shape[1]
    gram = rows @ rows.T if by_examples else rows.T @ rows
    squares, vectors = np.linalg.eigh(gram)
    real = squares > max(squares[-1], _TINY) * 1e-7
    squares, vectors = squares[real], vectors[:, real]
    other = (rows.T @ vectors if by_examples else rows @ vectors) / np.sqrt(squares)
    return (vectors, other, squares) if by_examples else (other, vectors, squares)


def _sharpest(scores: Array, labels: NDArray[np.int_], share: Array) -> tuple[float, float]:
    """Return the sharpness of the least weighted log loss, and that loss."""
    losses = []
    for sharpness in _SHARPNESS:
        own = softmax(scores, sharpness)[np.arange(len(labels)), labels]
        losses.append(float(-share @ np.log(np.maximum(own, 1e-12))))
    best = int(np.argmin(losses))
    return float(_SHARPNESS[best]), losses[best]
