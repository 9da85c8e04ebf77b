"""Texts with a question each."""

import pytest

from qwen_allinone.errors import DataFileError
from qwen_allinone.eval import Case, LabelledRow, evaluate
from qwen_allinone.model import Choice, SharedQwen
from qwen_allinone.tools.sentiment import mood_question


def _case(text: str, right: str, *options: str) -> Case:
    return Case(LabelledRow(text, text, (right,), "en"), Choice(instructions="Kind?", criteria=dict.fromkeys(options)))


def test_each_text_is_asked_its_own_question(qwen: SharedQwen) -> None:
    """Its options are those of its question, and the answer is the one that the model gives to it alone."""
    cases = [_case("a long walk", "sport", "sport", "food"), _case("a warm soup", "soup", "soup", "rain", "car")]
    report = evaluate("kind", cases, qwen)
    for case, sample in zip(cases, report.samples, strict=True):
        alone = qwen.decide(case.row.text, {"kind": case.question})["kind"]
        assert sample.decision is not None
        assert sample.decision.probabilities == pytest.approx(alone.probabilities, abs=1e-5)
        assert sample.correct is (alone.option in case.row.labels)
    assert (report.task, report.data, report.model, report.n) == ("kind", "kind", qwen.name, 2)


def test_options_become_the_labels_of_the_rows(qwen: SharedQwen) -> None:
    """A Chinese question is judged by labels in English."""
    question = mood_question("zh")
    polarities = dict(zip(question.criteria, ("positive", "negative"), strict=True))
    case = Case(LabelledRow("1", "很好", ("positive",), "zh"), question, polarities)
    (sample,) = evaluate("mood", [case], qwen).samples
    assert sample.predicted in polarities.values()


def test_a_label_that_is_no_option_of_its_row_is_an_error(qwen: SharedQwen) -> None:
    """Though it is one of another row."""
    cases = [_case("a long walk", "sport", "sport", "food"), _case("a warm soup", "sport", "soup", "rain")]
    with pytest.raises(DataFileError, match="never decided: sport"):
        evaluate("kind", cases, qwen)


def test_a_text_that_cannot_be_asked_about_is_unscored(qwen: SharedQwen) -> None:
    """It is never wrong."""
    report = evaluate("kind", [_case("a walk", "sport", "sport", "food"), _case(" ", "sport", "sport", "food")], qwen)
    assert (report.n, report.unscored) == (2, 1)
