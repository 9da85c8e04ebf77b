"""A report, for programs and for people."""

import json

import pytest
from rich.console import Console

from qwen_allinone import __version__
from qwen_allinone.eval import EvalReport, LabelledRow, Sample
from qwen_allinone.eval.tables import report_tables
from qwen_allinone.model import Decision


def decided(label, predicted, slices=("language:zh",)):
    """Make a row and its decision, at probability .8."""
    other = "negative" if predicted == "positive" else "positive"
    row = LabelledRow("1", "文本", (label,), "zh", tuple(slices))
    return Sample(row, Decision.from_probabilities({predicted: 0.8, other: 0.2}))


def report_of(samples):
    """Make a report with fixed surroundings."""
    return EvalReport.from_samples(
        samples, "sentiment", data="some set", data_digest="sha256:0", model="stub", seconds=1.5
    )


FAILED = Sample(LabelledRow("9", "文本", ("negative",), "zh", ("negation",)), error="EmptyTextError: pretend")
NINE_RIGHT = [decided("positive", "positive")] * 5 + [decided("negative", "negative", ["irony"])] * 4
REPORT = report_of([*NINE_RIGHT, decided("negative", "positive", ["irony"]), FAILED])


def printed(report, width=120):
    """Render the report as plain text."""
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(report_tables(report))
    return capture.get()


def test_the_json_has_every_figure():
    """Programs find each figure under its name."""
    found = REPORT.to_json()
    assert (found["task"], found["model"], found["data"], found["data_digest"]) == (
        "sentiment",
        "stub",
        "some set",
        "sha256:0",
    )
    assert (found["n"], found["scored"], found["unscored"], found["abstained"]) == (11, 10, 1, 0)
    assert found["errors"] == {"EmptyTextError: pretend": 1}
    assert (found["accuracy"], found["interval"]) == (0.9, pytest.approx([0.5958, 0.9821], abs=1e-4))
    assert found["baseline"] == {"label": "negative", "accuracy": 0.5}
    assert found["per_class"]["negative"] == {"precision": 1.0, "recall": 0.8, "f1": pytest.approx(8 / 9), "support": 5}
    assert found["confusion"] == {"labels": ["negative", "positive"], "counts": [[4, 1], [0, 5]]}
    assert found["slices"]["irony"] == {
        "n": 5,
        "unscored": 0,
        "accuracy": 0.8,
        "interval": pytest.approx([0.376, 0.964], abs=1e-3),
    }
    assert found["slices"]["negation"] == {"n": 0, "unscored": 1, "accuracy": None, "interval": None}
    assert found["calibration"]["expected_calibration_error"] == pytest.approx(0.1)
    assert found["seconds"] == 1.5
    assert found["versions"]["qwen-allinone"] == __version__
    assert {"python", "torch", "transformers", "scikit-learn"} < set(found["versions"])


def test_the_json_is_strict_json():
    """No NaN and nothing that JSON lacks, also when nothing was scored."""
    for report in (REPORT, report_of([FAILED])):
        assert json.loads(json.dumps(report.to_json(), allow_nan=False)) == report.to_json()


def test_people_see_accuracy_with_interval_baseline_and_unscored_rows():
    """The figures that belong together are printed together."""
    text = printed(REPORT)
    assert "90.0 %   (95 % interval 59.6 to 98.2 %, 9 of 10 right)" in text
    assert "always 'negative': 50.0 %   (the model is better)" in text
    assert "1 of 11 rows   (0 not sure enough, 1 errors; not part of the accuracy)" in text
    assert "EmptyTextError: pretend" in text
    assert "irony" in text


@pytest.mark.parametrize(
    ("samples", "verdict"),
    [
        ([decided("negative", "positive")] * 9, "the model is worse"),
        ([decided("negative", "positive"), decided("positive", "positive")], "no clear difference"),
    ],
)
def test_the_verdict_respects_chance(samples, verdict):
    """Better or worse is said only if the interval excludes the baseline."""
    assert verdict in printed(report_of(samples))


def test_a_report_of_nothing_can_be_printed():
    """Figures that do not exist are a dash."""
    text = printed(report_of([FAILED]))
    assert "1 of 1 rows" in text
    assert "0.0 %" not in text


def test_names_are_printed_as_they_are():
    """Square brackets in labels, slices and file names are no markup."""
    assert "[bold]food[/bold]" in printed(report_of([decided("positive", "positive", ["[bold]food[/bold]"])]))


LABELS = ["sentiment", "chat", "intent", "summary"]


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_every_width_shows_every_word(width):
    """In a narrow terminal nothing is cut: headers that begin alike can be told apart, and figures are whole."""
    samples = []
    for truth in LABELS:
        probabilities = {label: 0.7 if label == truth else 0.1 for label in LABELS}
        row = LabelledRow("1", "文本", (truth,), "zh", ("language:zh", "domain:electronics"))
        samples.append(Sample(row, Decision.from_probabilities(probabilities)))
    text = printed(report_of(samples), width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in text
    words = " ".join(text.split())
    for part in [*LABELS, "precision", "unscored", "95 % interval", "domain:electronics", "51.0 to 100.0 %"]:
        assert part in words
    confusion = text.partition("confusion")[2].partition("slices")[0]
    assert all(confusion.count(label) >= 2 for label in LABELS)


def test_where_a_table_is_too_wide_each_figure_has_a_line():
    """A narrow terminal gets the rows one below the other, each figure under its name."""
    lines = [" ".join(line.split()) for line in printed(REPORT, 40).splitlines()]
    start = lines.index("negative", lines.index("per label"))
    assert lines[start + 1 : start + 5] == ["precision 100.0 %", "recall 80.0 %", "F1 88.9 %", "rows 5"]
