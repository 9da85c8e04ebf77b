"""What a report says, for programs and for people."""

import json

import pytest
from rich.console import Console

from qwen_allinone import __version__
from qwen_allinone.eval import EvalReport, LabelledRow, Sample
from qwen_allinone.eval.tables import report_tables
from qwen_allinone.model import Decision


def judged(label, predicted, slices=("language:zh",)):
    """A row and its decision, at probability .8."""
    other = "negative" if predicted == "positive" else "positive"
    row = LabelledRow("1", "文本", (label,), "zh", tuple(slices))
    return Sample(row, Decision.of({predicted: 0.8, other: 0.2}))


def report_of(samples):
    """A report with fixed surroundings."""
    return EvalReport.of(samples, "sentiment", data="some set", data_digest="sha256:0", model="stub", seconds=1.5)


FAILED = Sample(LabelledRow("9", "文本", ("negative",), "zh", ("negation",)), error="EmptyTextError: pretend")
NINE_RIGHT = [judged("positive", "positive")] * 5 + [judged("negative", "negative", ["irony"])] * 4
REPORT = report_of([*NINE_RIGHT, judged("negative", "positive", ["irony"]), FAILED])


def printed(report):
    """The rendered report as plain text."""
    console = Console(width=120, force_terminal=False)
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
        ([judged("negative", "positive")] * 9, "the model is worse"),
        ([judged("negative", "positive"), judged("positive", "positive")], "no clear difference"),
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
    assert "[bold]food[/bold]" in printed(report_of([judged("positive", "positive", ["[bold]food[/bold]"])]))
