"""What examples are worth, judged out of fold."""

import pytest
from tiny_qwen import fresh

from qwen_allinone.errors import CapabilityError, DataFileError, QuestionError
from qwen_allinone.eval import LabelledRow, LabelledSet, fit_rows
from qwen_allinone.eval.fit import Rival
from qwen_allinone.eval.metrics import PairedTest, operating_point
from qwen_allinone.eval.ngrams import NgramClassifier, predictions_out_of_fold
from qwen_allinone.eval.sample import Sample
from qwen_allinone.model import Choice, Decision, SharedQwen

RED = ["the rose is red", "red wine on a red carpet", "a red red robin", "fire red paint", "red, red, red"]
BLUE = ["蓝色的大海", "天空很蓝", "她穿着蓝裙子", "蓝墨水洒了", "一片蓝"]
QUESTION = Choice(instructions="Which colour?", criteria={"red": None, "blue": None})


def rows_of(pairs) -> LabelledSet:
    """A set of these texts and labels."""
    rows = []
    for number, (text, *labels) in enumerate(pairs):
        rows.append(LabelledRow(str(number), text, tuple(labels), "en" if text.isascii() else "zh"))
    return LabelledSet("colours", tuple(rows))


COLOURS = rows_of([*((text, "red") for text in RED), *((text, "blue") for text in BLUE)])


def test_every_row_is_decided_by_a_head_that_has_not_seen_it(qwen: SharedQwen):
    """Its decision is that of a question whose examples lack the row, up to the penalty that is chosen."""
    shared = fresh(qwen)
    found = fit_rows(shared, QUESTION, COLOURS)
    assert found.report.n == 10
    assert {sample.row.labels[0] for sample in found.report.samples} == {"red", "blue"}
    assert found.report.accuracy.value == pytest.approx(found.fit.accuracy)
    assert all(sample.decision.method == "learned" for sample in found.report.samples)


def test_labels_without_meaning_are_not_learned(qwen: SharedQwen):
    """Out of fold, random labels are right half of the time; in the fit they would be learned by heart."""
    texts = [f"{number * 7919 % 101} {'abcdefgh'[number % 8]}" for number in range(60)]
    random = rows_of((text, "red" if (number * 2654435761 >> 7) % 2 else "blue") for number, text in enumerate(texts))
    found = fit_rows(fresh(qwen), QUESTION, random, compare=False)
    assert 0.2 < found.report.accuracy.value < 0.8


def test_rivals_are_compared_on_the_same_rows(qwen: SharedQwen):
    """Scores and n-grams decide the rows too; the progress ends at its end."""
    seen = []
    found = fit_rows(fresh(qwen), QUESTION, COLOURS, progress=lambda done, total: seen.append((done, total)))
    scoring, ngrams = found.rivals
    assert (scoring.name, ngrams.name) == ("scoring", "n-grams")
    assert scoring.accuracy.n == ngrams.accuracy.n == 10
    assert ngrams.learned == found.report.accuracy
    assert seen[-1][0] == seen[-1][1]
    figures = found.to_json()
    assert figures["rivals"]["n-grams"]["accuracy"] == ngrams.accuracy.value
    assert figures["interval"][0] <= figures["accuracy"] <= figures["interval"][1]


def test_rows_that_teach_nothing_are_counted(qwen: SharedQwen):
    """Blank ones, those of several labels, and a label's only row."""
    more = rows_of(
        [*((row.text, *row.labels) for row in COLOURS.rows), (" ", "red"), ("x",), ("purple", "red", "blue")]
    )
    found = fit_rows(fresh(qwen), QUESTION, more, compare=False)
    assert found.left_out == {"blank text": 1, "blank label": 1, "several labels": 1}
    lonely = Choice(instructions="?", criteria={"red": None, "blue": None, "green": None})
    found = fit_rows(
        fresh(qwen), lonely, rows_of([*((r.text, *r.labels) for r in COLOURS.rows), ("草", "green")]), compare=False
    )
    assert found.report.n == 10


def test_rows_that_cannot_be_learned_from_are_refused(qwen: SharedQwen):
    """Each with its reason."""
    with pytest.raises(DataFileError, match="'green'; the options are: red, blue"):
        fit_rows(qwen, QUESTION, rows_of([("grass", "green"), ("a", "red")]))
    with pytest.raises(DataFileError, match="nothing can be learned"):
        fit_rows(fresh(qwen), QUESTION, rows_of([("a", "red"), ("b", "red"), ("c", "blue")]))
    with pytest.raises(QuestionError, match="is an example of 'red' and of 'blue'"):
        fit_rows(qwen, QUESTION, rows_of([("a", "red"), ("b", "red"), ("a", "blue"), ("c", "blue")]))


def test_a_model_on_a_server_cannot_be_fitted(qwen: SharedQwen, monkeypatch):
    """It gives no hidden states."""
    monkeypatch.setattr(qwen.learner, "layers", ())
    with pytest.raises(CapabilityError, match="no hidden states"):
        fit_rows(qwen, QUESTION, COLOURS)


def judged(*rows: tuple[float, bool]) -> list[Sample]:
    """Rows decided with these probabilities, right or wrong."""
    found = []
    for probability, right in rows:
        decision = Decision({"a": probability, "b": 1 - probability})
        found.append(Sample(LabelledRow("1", "t", ("a" if right else "b",), "en"), decision))
    return found


def test_the_threshold_for_an_error_or_a_coverage():
    """Worked out by hand: of five rows, the third and the last are wrong."""
    rows = judged((0.99, True), (0.9, True), (0.8, False), (0.7, True), (0.6, False))
    strict = operating_point(rows, max_error=0.0)
    assert (strict.threshold, strict.coverage.hits, strict.error.hits) == (0.9, 2, 0)
    loose = operating_point(rows, max_error=0.25)
    assert (loose.threshold, loose.coverage.hits, loose.error.hits) == (0.7, 4, 1)
    wide = operating_point(rows, coverage=0.5)
    assert (wide.threshold, wide.coverage.hits, wide.error.hits) == (0.8, 3, 1)
    assert operating_point(judged((0.9, False)), max_error=0.1) is None
    together = judged((0.9, True), (0.9, False))
    assert operating_point(together, max_error=0.4) is None


def test_the_paired_test_is_that_of_mcnemar():
    """Of ten rows on which they differ, nine against one: 2 * (1 + 10) / 2 ** 10."""
    test = PairedTest.from_hits([True] * 9 + [False] + [True] * 5, [False] * 9 + [True] + [True] * 5)
    assert (test.first, test.second) == (9, 1)
    assert test.p_value == pytest.approx(22 / 1024)
    assert PairedTest(0, 0).p_value == 1.0
    rival = Rival.from_predictions("x", {"t": "a"}, judged((0.9, True)))
    assert (rival.accuracy.hits, rival.paired.first) == (1, 0)


def test_ngrams_are_judged_on_rows_that_they_have_not_seen():
    """A label that a single row carries cannot be predicted for it; every row is predicted once."""
    rows = [*((text, "red") for text in RED), *((text, "blue") for text in BLUE), ("zzz", "odd")]
    found = predictions_out_of_fold(rows, judged=100)
    assert sorted(found) == list(range(11))
    assert found[10] != "odd"
    assert len(predictions_out_of_fold(rows, judged=1)) < 11


def test_ngrams_of_one_label_or_without_words():
    """One label in a language is the answer; texts without words are read by their characters."""
    assert NgramClassifier([("红", "red"), ("a", "x"), ("b", "y")]).predict("蓝") == "red"
    assert NgramClassifier([("a a a", "x"), ("b b", "y")]).predict("a a") == "x"
    assert NgramClassifier([("a", "x"), ("b", "y")]).predict("中") is None
