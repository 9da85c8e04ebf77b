import json

from known_model import MOOD, ROUTE, KnownModel, first_listed, right, tasks

from qwen_allinone.eval.diagnostics.comparison import compare_corrections, compare_layouts
from qwen_allinone.eval.diagnostics.evaluations import Evaluations

ROWS = 12


def test_a_model_that_is_right_has_full_accuracy_in_both_languages():
    """Options count as the labels that the cases give them, whatever they are called in the text's language."""
    found = compare_layouts(Evaluations(KnownModel(right)), tasks()).to_json()["text_first"]
    assert (found["mood"]["accuracy"], found["mood"]["n"]) == (1.0, len(MOOD.cases))
    assert (found["route"]["accuracy"], found["route"]["n"]) == (1.0, len(ROUTE.cases))
    assert found["mood"]["interval"][0] > 0.98 and found["mood"]["interval"][1] == 1.0
    assert found["route"]["baseline"] < 1.0


def test_layouts_are_measured_apart():
    """A model that understands one layout only is right there and at the level of a constant answer elsewhere."""

    def rule(text, question, how):
        return (right if how["layout"] == "text_first" else first_listed)(text, question, how)

    found = compare_layouts(Evaluations(KnownModel(rule)), tasks(ROWS))
    assert found.reports["text_first"]["route"].accuracy.value == 1.0
    assert found.reports["instruction_first"]["route"].accuracy.value < 1.0


def test_corrections_are_measured_apart():
    """Each correction is judged by the decisions made with it."""

    def rule(text, question, how):
        return (right if how["calibration"].prior else first_listed)(text, question, how)

    found = compare_corrections(Evaluations(KnownModel(rule)), tasks(ROWS)).to_json()
    assert found["prior"]["mood"]["accuracy"] == 1.0
    assert found["none"] == found["permutations"] == found["length_normalized"]
    assert found["none"]["mood"]["accuracy"] < 1.0


def test_texts_that_cannot_be_decided_are_counted_apart():
    """A text that is too long is unscored and named, never wrong."""
    model = KnownModel(right, too_long=(MOOD.spaced(ROWS).cases[3].row.text,))
    found = compare_layouts(Evaluations(model), tasks(ROWS)).to_json()["text_first"]["mood"]
    assert (found["accuracy"], found["n"], found["unscored"]) == (1.0, ROWS - 1, 1)
    assert found["errors"] == {"TextTooLongError: too long": 1}


def test_nothing_scored_gives_no_figure():
    """Accuracy and interval are null if every row fails, and the result still is JSON."""
    model = KnownModel(right, too_long=tuple(case.row.text for case in MOOD.cases))
    found = compare_layouts(Evaluations(model), [MOOD.spaced(ROWS)]).to_json()
    assert found["text_first"]["mood"]["accuracy"] is found["text_first"]["mood"]["interval"] is None
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_no_decision_is_made_twice():
    """Rows that one check decided, another one takes over."""
    model = KnownModel(right)
    evaluations = Evaluations(model)
    compare_layouts(evaluations, tasks(ROWS))
    before = model.calls
    compare_layouts(evaluations, tasks(ROWS))
    evaluations.report(MOOD.spaced(ROWS), layout="text_first")
    assert model.calls == before == 2 * 2 * ROWS
    compare_corrections(evaluations, tasks(ROWS))
    assert model.calls == before + 3 * 2 * ROWS


def test_progress_is_told_row_by_row():
    """Each step is told up to its last row."""
    steps = {}
    evaluations = Evaluations(KnownModel(right), lambda step, done, total: steps.update({step: (done, total)}))
    compare_layouts(evaluations, tasks(3))
    assert steps.keys() == {
        "known: mood, text_first, correction none",
        "known: route, text_first, correction none",
        "known: mood, instruction_first, correction none",
        "known: route, instruction_first, correction none",
    }
    assert set(steps.values()) == {(3, 3)}
