"""Figures against values worked out by hand."""

import pytest

from qwen_allinone.eval import LabelledRow, Sample, metrics
from qwen_allinone.eval.metrics import Proportion
from qwen_allinone.model import Decision


def sample(labels, predicted, *, confidence=0.8, slices=(), accepted=True):
    """Make a row of these labels whose prediction, a or b, has this probability."""
    other = "b" if predicted == "a" else "a"
    decision = Decision({predicted: confidence, other: 1 - confidence}, state="accepted" if accepted else "ambiguous")
    return Sample(LabelledRow("1", "text", tuple(labels), "en", tuple(slices)), decision)


def failed(labels="a", slices=()):
    """Make a row whose text raised an error."""
    return Sample(LabelledRow("1", "text", tuple(labels), "en", tuple(slices)), error="EmptyTextError: blank")


# truth a: three right, one taken for b; truth b: two right, two taken for a, of which none may be
EIGHT = [sample("a", "a")] * 3 + [sample("a", "b")] + [sample("b", "b")] * 2 + [sample("b", "a")] * 2


def test_accuracy_is_right_over_scored():
    """Five of eight are right."""
    assert metrics.accuracy(EIGHT) == Proportion(5, 8)
    assert metrics.accuracy(EIGHT).value == 0.625


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (29, 29, 0.8830, 1.0)],
)
def test_wilson_interval_of_published_values(hits, n, low, high):
    """The intervals of Newcombe (1998, table I, method 3)."""
    assert Proportion(hits, n).interval == pytest.approx((low, high), abs=5e-5)


def test_wilson_interval_is_its_formula():
    """Centre and half width as Wilson wrote them, for 7 of 9."""
    z, share, n = 1.959963984540054, 7 / 9, 9
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    assert Proportion(7, 9).interval == pytest.approx((centre - half, centre + half))


def test_precision_recall_and_f1_by_hand():
    """a: precision 3/5, recall 3/4; b: precision 2/3, recall 2/4."""
    a, b = metrics.per_class(EIGHT)
    assert (a.label, a.precision, a.recall, a.f1, a.support) == ("a", 0.6, 0.75, pytest.approx(2 / 3), 4)
    assert (b.label, b.precision, b.recall, b.f1, b.support) == (
        "b",
        pytest.approx(2 / 3),
        0.5,
        pytest.approx(4 / 7),
        4,
    )
    assert metrics.macro_f1(EIGHT) == pytest.approx((2 / 3 + 4 / 7) / 2)


def test_confusion_has_a_row_per_truth():
    """One a was taken for b, two b for a."""
    assert metrics.confusion(EIGHT).labels == ("a", "b")
    assert metrics.confusion(EIGHT).counts == ((3, 1), (2, 2))


def test_a_row_of_two_labels_is_right_with_either():
    """It counts for the accepted label that was predicted, or for its first if none was."""
    either = [sample("ab", "a"), sample("ab", "b"), sample("ac", "b")]
    assert [each.correct for each in either] == [True, True, False]
    assert [each.truth for each in either] == ["a", "b", "a"]
    assert metrics.accuracy(either) == Proportion(2, 3)


def test_errors_and_abstentions_are_not_wrong():
    """They leave every figure as it is."""
    more = [*EIGHT, failed(), failed("b"), sample("a", "b", accepted=False)]
    assert [each.correct for each in more[8:]] == [None, None, None]
    assert metrics.accuracy(more) == metrics.accuracy(EIGHT)
    assert metrics.per_class(more) == metrics.per_class(EIGHT)
    assert metrics.reliability(more) == metrics.reliability(EIGHT)


def test_baseline_is_the_answer_most_rows_accept():
    """With b accepted by three of four rows, always b reaches 75 %."""
    found = metrics.baseline([sample("a", "a"), sample("ab", "a"), sample("b", "a"), sample("b", "b")])
    assert (found.label, found.accuracy) == ("b", Proportion(3, 4))


def test_calibration_error_by_hand():
    """Four at .9 with accuracy 1/2 and four at .6 with accuracy 1: the mean of .4 and .4."""
    sure = [sample("a", "a", confidence=0.9)] * 2 + [sample("b", "a", confidence=0.9)] * 2
    unsure = [sample("a", "a", confidence=0.61)] * 4
    found = metrics.reliability(sure + unsure)
    assert found.expected_error == pytest.approx((0.4 + 0.39) / 2)
    assert found.mean_confidence == pytest.approx((0.9 + 0.61) / 2)
    assert [each.n for each in found.bins] == [4, 4]


def test_confidences_within_one_bin_cancel_out():
    """Confidences .94 and .98 share the last of fifteen bins: one right and one wrong miss .96 by .46."""
    found = metrics.reliability([sample("a", "a", confidence=0.94), sample("b", "a", confidence=0.98)])
    assert found.expected_error == pytest.approx(0.46)
    assert metrics.reliability([sample("a", "a", confidence=1.0)]).expected_error == 0


def test_a_label_that_never_occurs_does_not_lower_the_macro_f1():
    """An option that is neither true nor predicted has figures of 0 and no part in the mean."""
    assert [each.support for each in metrics.per_class([sample("a", "a")])] == [1, 0]
    assert metrics.macro_f1([sample("a", "a")]) == 1.0


def test_slices_are_counted_by_themselves():
    """Each slice has its own accuracy and its own unscored rows; languages come first."""
    rows = [
        sample("a", "a", slices=["domain:food", "negation", "language:en"]),
        sample("b", "a", slices=["negation", "language:en"]),
        failed(slices=["negation"]),
    ]
    found = metrics.slices(rows)
    assert [(each.name, each.accuracy, each.unscored) for each in found] == [
        ("language:en", Proportion(1, 2), 0),
        ("negation", Proportion(1, 2), 1),
        ("domain:food", Proportion(1, 1), 0),
    ]


def test_nothing_scored_is_none_not_zero():
    """Figures of nothing are absent instead of made up."""
    nothing = [failed()]
    assert metrics.accuracy(nothing).value is None
    assert metrics.accuracy(nothing).interval is None
    assert metrics.baseline(nothing) is None
    assert metrics.macro_f1(nothing) is None
    assert metrics.reliability(nothing).expected_error is None
    assert metrics.per_class(nothing) == ()
