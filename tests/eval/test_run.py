"""One pass over a labelled set."""

import json

import pytest

from qwen_allinone.errors import DataFileError, EmptyTextError
from qwen_allinone.eval import EvalRun, LabelledRow, LabelledSet
from qwen_allinone.model import Decision, Threshold

ROWS = LabelledSet(
    "four",
    (
        LabelledRow("r1", "汤很鲜", ("positive",), "zh", ("language:zh",)),
        LabelledRow("r2", "cold soup", ("negative",), "en", ("language:en",)),
        LabelledRow("r3", "不好吃", ("negative",), "zh", ("language:zh", "negation")),
        LabelledRow("r4", "太长", ("negative",), "zh", ("language:zh",)),
    ),
)


def short_is_good(text):
    """Positive for Chinese, and an error for one text."""
    if text == "太长":
        raise EmptyTextError("pretend")
    share = 0.9 if not text.isascii() else 0.3
    return Decision.from_probabilities({"positive": share, "negative": 1 - share})


def run(decide=short_is_good, **options):
    """Return the report of a run over the four rows."""
    return EvalRun("sentiment", ROWS, decide=decide, model="stub").execute(**options)


def test_one_failing_text_does_not_end_the_run():
    """It becomes an unscored row with its message; the others are scored."""

    def first_fails(text):
        if text == "汤很鲜":
            raise EmptyTextError("pretend")
        return Decision.from_probabilities({"positive": 0.1, "negative": 0.9})

    report = run(first_fails)
    assert (report.n, report.unscored, report.accuracy.hits, report.accuracy.n) == (4, 1, 3, 3)
    assert report.errors == {"EmptyTextError: pretend": 1}


@pytest.mark.parametrize("way", ["decide", "decide_all"])
def test_blank_rows_are_not_decided_and_never_wrong(way):
    """They are unscored with an error that says what is blank, wherever they stand; the others are scored."""
    rows = [
        LabelledRow("1", " ", ("negative",), "zh", ("language:zh",)),
        LabelledRow("2", "汤很鲜", ("positive",), "zh", ("language:zh",)),
        LabelledRow("3", "面很香", (), "zh", ("language:zh",)),
        LabelledRow("4", "cold soup", ("negative",), "en", ("language:en",)),
        LabelledRow("5", "", (), "zh"),
    ]
    asked, told = [], []

    def decide(text):
        asked.append(text)
        return short_is_good(text)

    given = {"decide": decide} if way == "decide" else {"decide_all": lambda texts: map(decide, texts)}
    run = EvalRun("sentiment", LabelledSet("five", tuple(rows)), model="stub", **given)
    report = run.execute(progress=lambda done, total: told.append((done, total)))
    assert asked == ["汤很鲜", "cold soup"]
    assert (report.n, report.unscored, report.accuracy.hits, report.accuracy.n) == (5, 3, 2, 2)
    assert report.errors == {"blank text": 2, "blank label": 1}
    assert [sample.predicted for sample in report.samples] == [None, "positive", None, "negative", None]
    assert [sample.to_json()["correct"] for sample in report.samples] == [None, True, None, True, None]
    assert told == [(done, 5) for done in range(1, 6)]


@pytest.mark.parametrize("count", [3, 5])
def test_a_decision_too_few_or_too_many_is_an_error(count):
    """Decisions that do not match the rows are never counted."""
    decision = Decision.from_probabilities({"positive": 0.9, "negative": 0.1})
    with pytest.raises(ValueError, match=r"zip\(\)"):
        EvalRun("sentiment", ROWS, decide_all=lambda _texts: [decision] * count, model="stub").execute()


def test_many_texts_may_be_decided_at_once():
    """Decisions and errors stand in the order of the rows; the report is the same as one text at a time."""

    def all_at_once(texts):
        for text in list(texts):
            try:
                yield short_is_good(text)
            except EmptyTextError as error:
                yield error

    together = EvalRun("sentiment", ROWS, decide_all=all_at_once, model="stub").execute()
    assert together.samples == run().samples


@pytest.mark.parametrize("given", [{}, {"decide": short_is_good, "decide_all": map}])
def test_one_of_two_ways_to_decide_is_given(given):
    """Neither and both are refused."""
    with pytest.raises(TypeError, match="either decide or decide_all"):
        EvalRun("sentiment", ROWS, model="stub", **given)


def test_a_bug_in_what_decides_is_not_hidden():
    """Only this package's errors make a row unscored; any other ends the run."""

    def broken(text):
        raise ZeroDivisionError(text)

    with pytest.raises(ZeroDivisionError):
        run(broken)


def test_abstentions_are_unscored():
    """A decision below its bounds counts neither as right nor as wrong."""
    report = run(
        lambda _text: Decision.from_probabilities({"positive": 0.55, "negative": 0.45}, Threshold(probability=0.6))
    )
    assert (report.abstained, report.unscored, report.accuracy.value) == (4, 4, None)


def test_progress_is_told_after_each_row():
    """Also after a row that failed."""
    told = []
    run(progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_samples_hold_what_was_decided(tmp_path):
    """Every row has a line, in the order of the set, also the one that failed."""
    run(out=tmp_path / "new" / "folder")
    lines = (tmp_path / "new" / "folder" / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    first, _, third, fourth = map(json.loads, lines)
    assert first == {
        "id": "r1",
        "text": "汤很鲜",
        "labels": ["positive"],
        "predicted": "positive",
        "correct": True,
        "probabilities": {"positive": 0.9, "negative": pytest.approx(0.1)},
        "margin": pytest.approx(0.8),
        "abstained": False,
        "error": None,
        "slices": ["language:zh"],
    }
    assert (third["predicted"], third["correct"]) == ("positive", False)
    assert (fourth["predicted"], fourth["correct"], fourth["error"]) == (None, None, "EmptyTextError: pretend")


def test_the_summary_is_the_report(tmp_path):
    """The file holds what the returned report says."""
    report = run(out=tmp_path)
    assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8")) == report.to_json()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["samples.jsonl", "summary.json"]


@pytest.mark.parametrize("ending", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interrupted_run_leaves_nothing(tmp_path, ending):
    """Neither files nor a folder that was not there."""

    def interrupted(done, _total):
        if done == 2:
            raise ending

    with pytest.raises(ending):
        run(out=tmp_path / "a" / "b", progress=interrupted)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_keeps_earlier_results(tmp_path):
    """The files of an earlier run stay whole."""
    run(out=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def interrupted(_text):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(interrupted, out=tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_second_run_replaces_the_first_and_nothing_else(tmp_path):
    """Other files in the folder stay."""
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    run(out=tmp_path)
    report = run(lambda _text: Decision.from_probabilities({"positive": 0.1, "negative": 0.9}), out=tmp_path)
    assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["accuracy"] == report.accuracy.value
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_decided(tmp_path):
    """No hour of deciding is lost to a wrong path."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "out" / "summary.json").mkdir(parents=True)
    asked = []
    for out in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "out"):
        with pytest.raises(DataFileError, match="results cannot be written to"):
            run(asked.append, out=out)
    assert asked == []


def test_labels_that_are_never_decided_are_refused(tmp_path):
    """A set of other labels is not silently 0 % right."""
    with pytest.raises(DataFileError, match="never decided: negative, positive; the options are: good, bad"):
        run(lambda _text: Decision.from_probabilities({"good": 0.6, "bad": 0.4}), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
