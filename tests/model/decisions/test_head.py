"""Heads: closed-form, and judged on what they have not seen."""

import numpy as np
import pytest

from qwen_allinone.model.decisions.head import Described, fit_head, softmax


def clouds(count: int, *, width: int = 30, distance: float = 2.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points of three classes around three centres."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(1).normal(size=(3, width)) * distance / np.sqrt(width)
    labels = np.arange(count) % 3
    points = centres[labels] + rng.normal(size=(count, width))
    return points.astype(np.float32), labels


def right(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Share of the rows whose most probable class is theirs."""
    return float((probabilities.argmax(1) == labels).mean())


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("count", [24, 300])
def test_predictions_out_of_fold_are_those_of_heads_fitted_without_the_example(count, repeated, monkeypatch):
    """With fewer examples than features, and with more; an example that is given three times weighs as much."""
    monkeypatch.setattr("qwen_allinone.model.decisions.head.PENALTIES", (0.3,))
    monkeypatch.setattr("qwen_allinone.model.decisions.head._SHARPNESS", np.array([1.0]))
    points, labels = clouds(count)
    times = np.where(np.arange(count) % 5 == 1, 3.0, 1.0) if repeated else np.ones(count)
    fitted = fit_head(points, labels, np.ones(count, bool), times)
    for index in (0, 1, count - 1):
        # The same weights, scale and centre as in the whole: only the example itself is missing.
        expected = ridge_without(points, labels, times, index, 0.3)
        assert fitted.probabilities[index] == pytest.approx(softmax(expected[None])[0], abs=1e-5)


def ridge_without(points: np.ndarray, labels: np.ndarray, times: np.ndarray, index: int, penalty: float) -> np.ndarray:
    """Brute force: weighted ridge regression with an intercept, without one row; its prediction for that row."""
    weights = times * (times.sum() / 3 / np.bincount(labels, times))[labels]
    scaled = (points - points.mean(0)) / ((points.std(0) + 1e-6) * np.sqrt(points.shape[1]))
    design = np.hstack([scaled, np.ones((len(labels), 1))])
    kept = np.arange(len(labels)) != index
    rows, wanted = design[kept], np.eye(3)[labels[kept]]
    penalties = penalty * np.eye(design.shape[1])
    penalties[-1, -1] = 0.0  # the intercept is free
    left = rows.T @ (weights[kept, None] * rows) + penalties
    return design[index] @ np.linalg.solve(left, rows.T @ (weights[kept, None] * wanted))


def test_the_order_of_classes_and_examples_changes_nothing():
    """Renumbered classes get the same probabilities under their new numbers."""
    points, labels = clouds(60)
    asked, _ = clouds(20, seed=5)
    found = fit_head(points, labels, np.ones(60, bool)).head.probabilities(asked)
    shuffled = np.random.default_rng(2).permutation(60)
    turned = fit_head(points[shuffled], 2 - labels[shuffled], np.ones(60, bool)).head.probabilities(asked)
    assert turned[:, ::-1] == pytest.approx(found, abs=1e-5)


def test_accuracy_out_of_fold_is_that_on_new_points():
    """Noise promises nothing, and what is told apart is told apart."""
    points, labels = clouds(240, distance=4.0)
    fitted = fit_head(points, labels, np.ones(240, bool))
    new, truth = clouds(900, distance=4.0, seed=9)
    assert fitted.accuracy == pytest.approx(right(fitted.head.probabilities(new), truth), abs=0.08)
    noise, labels = clouds(240, distance=0.0)
    assert fit_head(noise, labels, np.ones(240, bool)).accuracy < 0.45


def test_a_rare_class_counts_as_much_as_the_others():
    """Five examples beside a hundred are found again."""
    points, labels = clouds(300, distance=4.0)
    kept = np.r_[np.flatnonzero(labels != 2), np.flatnonzero(labels == 2)[:5]]
    head = fit_head(points[kept], labels[kept], np.ones(len(kept), bool)).head
    new, truth = clouds(300, distance=4.0, seed=3)
    assert right(head.probabilities(new[truth == 2]), truth[truth == 2]) > 0.6


def test_described_classes_take_what_is_like_them_and_little_else():
    """A text near a description goes there; of the other classes' texts, few do."""
    rng = np.random.default_rng(4)
    others = rng.normal(size=(400, 50)).astype(np.float32)
    descriptions = rng.normal(size=(2, 50)).astype(np.float32)
    described = Described.from_features(descriptions, others)
    near = (descriptions + 0.3 * rng.normal(size=(2, 50))).astype(np.float32)
    found = described.probabilities(near)
    assert found.argmax(1).tolist() == [0, 1]
    assert found.sum(1).min() > 0.9
    assert (described.probabilities(others).sum(1) > 0.5).mean() <= 0.06


def test_the_typicality_is_the_share_of_examples_that_are_less_like_any_class():
    """New points like the examples are spread evenly; what lies between the classes is below most of them."""
    points, labels = clouds(300, distance=6.0)
    head = fit_head(points, labels, np.ones(300, bool)).head
    new, _ = clouds(600, distance=6.0, seed=7)
    shares = head.typicality(new)
    assert (shares < 0.1).mean() == pytest.approx(0.1, abs=0.05)
    assert (shares < 0.5).mean() == pytest.approx(0.5, abs=0.1)
    middle = points.mean(0) + 0.1 * np.random.default_rng(3).normal(size=(20, points.shape[1])).astype(np.float32)
    assert head.typicality(middle).max() < 0.05
