"""Figures say what they are worth, and the sets of the accuracy benchmark are sound."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from benchmarks.accuracy import pages, sets, unseen
from benchmarks.accuracy.__main__ import main
from benchmarks.accuracy.chats import Exchange, bare, is_broken, repeats, training_replies
from benchmarks.accuracy.figure import Figure, Target, accuracy_figure
from benchmarks.accuracy.linear import LinearClassifier
from benchmarks.accuracy.result import Result, weights_digest
from benchmarks.accuracy.stability import order_figure
from benchmarks.accuracy.task import as_given, intent_task
from benchmarks.accuracy.training_rows import written_sources
from qwen_allinone.eval import LabelledRow, Sample
from qwen_allinone.eval.metrics import Proportion
from qwen_allinone.memory import embeddings
from qwen_allinone.model import Threshold, Decision, SharedQwen, loading

ROOT = Path(__file__).parents[2]


def _sample(right: str, probabilities: dict[str, float]) -> Sample:
    row = LabelledRow(right, "text", (right,), "en")
    return Sample(row, Decision.from_probabilities(probabilities, Threshold()))


def test_a_figure_below_its_target_is_missed_and_listed() -> None:
    """Each sense of a target is judged, and what is missed stands in the result by name."""
    low = Figure.of("low", Proportion(4, 10), target=Target(0.5))
    even = Figure.of("even", Proportion(5, 10), target=Target(0.5, "above"))
    few = Figure.of("few", Proportion(1, 100), target=Target(0.02, "at most"))
    free = Figure.of("free", Proportion(1, 2))
    assert [low.met, even.met, few.met, free.met] == [False, False, True, None]
    result = Result("m", {}, "command", {}, {"part": [low, even, few, free]})
    assert result.to_json()["targets"] == {"met": 1, "missed": ["low", "even"]}


def test_the_floor_of_an_accuracy_is_the_commonest_label() -> None:
    """Three rows of four have the same label, so that is what needs no model."""
    samples = [_sample(label, {"a": 0.6, "b": 0.4}) for label in "aaab"]
    figure = accuracy_figure("all", samples)
    assert (figure.value, figure.n) == (0.75, 4)
    assert figure.floor is not None
    assert (figure.floor.value, figure.floor.what) == (0.75, "always a")


def test_a_run_of_three_tokens_three_times_is_a_repetition() -> None:
    """Twice is not, nor are runs that overlap."""
    assert repeats([1, 2, 3] * 3)
    assert not repeats([1, 2, 3] * 2)
    assert not repeats([7] * 8)
    assert repeats([7] * 9)


@pytest.mark.parametrize(
    ("reply", "broken"),
    [
        ("Glad to hear it!", False),
        ("", True),
        ("half a \ufffd", True),
        ("so <|im_start|>", True),
        ("no no no " * 9, True),
        (" ".join(map(str, range(200))), True),
    ],
)
def test_broken_replies_are_found(qwen: SharedQwen, reply: str, *, broken: bool) -> None:
    """Empty ones, halves of characters, control tokens, repetition, and those that never ended."""
    assert is_broken(qwen, reply) is broken


def test_a_memory_is_used_if_an_expected_word_is_in_the_reply() -> None:
    """In any case; one of them is enough."""
    asked = Exchange("what's my dog called", "en", "She is called biscuit!", soothed=False, expected=("Rex", "Biscuit"))
    assert asked.remembered
    assert asked.in_language
    assert not replace(asked, reply="She is called Luna!").remembered
    assert not replace(asked, reply="她叫豆豆").in_language


def test_replies_filled_from_a_grammar_count_as_copies() -> None:
    """What a slot was filled with does not make a reply new."""
    (dialogue, *_) = [source for source in written_sources() if source.name.startswith("dialogue")]
    assert {bare(str(item.reply)) for item in dialogue.items} <= training_replies()


def test_the_floor_is_a_classifier_of_its_own() -> None:
    """It learns from the rows it is given, in each language apart, and knows nothing of another."""
    linear = LinearClassifier([("good film", "positive"), ("bad film", "negative"), ("a good one", "positive")])
    rows = [LabelledRow(text, text, (label,), "en") for text, label in (("good", "positive"), ("bad", "negative"))]
    assert linear.floor(rows).value == 1
    assert linear.predict("好") is None


def test_sorted_options_make_their_order_irrelevant(qwen: SharedQwen) -> None:
    """As the toolkit asks, no answer of any model changes with the order; with the order as given, some do."""
    task = intent_task(qwen, sets.intents()[:12])
    assert order_figure(qwen, task, task.calibration, "sorted", None).value == 0
    given = order_figure(qwen, task, as_given(task.calibration), "given", None)
    assert given.value is not None
    assert given.value > 0


def test_a_data_set_without_rows_is_left_out() -> None:
    """A split that a data folder lacks, or whose texts are all known, is no row of the result."""
    found = unseen._rows({"full": [("new", "positive")], "empty": [], "known": [("old", "negative")]}, {"old"})
    assert {what: [row.text for row in rows] for what, rows in found.items()} == {"full": ["new"]}


def test_the_written_sets_are_sound() -> None:
    """Every right answer is among the candidates, no text stands twice, and yes is as common as no."""
    intents, yes_no = sets.records("intents"), sets.records("yes_no")
    assert all(row["label"] in row["candidates"] and len(set(row["candidates"])) == 6 for row in intents)
    for name in ("intents", "yes_no", "chats", "custom_routes"):
        texts = [(row["text"], row.get("question")) for row in sets.records(name)]
        assert len(set(texts)) == len(texts)
    assert 0.4 < sum(row["label"] == "yes" for row in yes_no) / len(yes_no) < 0.6


def test_no_paraphrase_of_the_benchmark_is_trained_on() -> None:
    """Wordings are judged that the training does not use."""
    trained = (ROOT / "training" / "paraphrases.yaml").read_text(encoding="utf-8")
    wordings = [
        words for language in sets.content("paraphrases").values() for each in language.values() for words in each
    ]
    assert len(wordings) >= 36
    assert not [words for words in wordings if words in trained]


def test_user_routes_are_described_and_all_asked_for() -> None:
    """Every route of the set has a description and rows, and no row asks for any other."""
    asked = {row["label"] for row in sets.records("custom_routes")}
    described = yaml.safe_load((sets.FOLDER / "custom_routes.yaml").read_text(encoding="utf-8"))
    assert asked == set(described)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "nope"}, "no model 'nope'"),
        ({"data": Path("nowhere")}, "no such folder"),
        ({"data": ROOT / "docs"}, "lacks the data sets .*sentiment/en_sst2"),
    ],
)
def test_what_is_not_there_is_refused_before_anything_is_measured(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """One clear line that names it, and no result file."""
    with pytest.raises(typer.BadParameter, match=message):
        main(out=tmp_path / "result.json", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", pages.PAGES, ids=lambda path: path.name)
def test_pages_say_what_was_measured(path: Path) -> None:
    """The tables of READMEs and model card are those of the result files, which are those of the weights that ship."""
    page = path.read_text(encoding="utf-8")
    assert pages.rewritten(page) == page
    assert pages.rewritten(re.sub(r"\| \d+\.\d %", "| 0.0 %", page)) == page
    result = json.loads((pages.RESULTS / "accuracy.json").read_text(encoding="utf-8"))
    assert result["weights"] == {
        "bundled": weights_digest(loading.bundled_folder()),
        "embedder": weights_digest(embeddings.bundled_folder()),
    }
