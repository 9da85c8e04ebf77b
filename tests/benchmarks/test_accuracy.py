"""Figures say what they are worth, and the sets of the accuracy benchmark are sound."""

import gzip
import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from benchmarks.accuracy import cases
from benchmarks.accuracy.__main__ import main
from benchmarks.accuracy.decisions import corrections
from benchmarks.accuracy.figure import Figure, Target, accuracy_figure
from benchmarks.accuracy.ngrams import Learned, bare, floor
from benchmarks.accuracy.replies import Exchange, figures, is_broken, repeats
from benchmarks.accuracy.result import Result, weights_digest
from benchmarks.accuracy.sets import PUBLIC, PublicGroup, PublicSet
from benchmarks.accuracy.stability import as_given, order_figure
from qwen_allinone.eval import LabelledRow, Sample
from qwen_allinone.eval.metrics import Proportion
from qwen_allinone.eval.ngrams import NgramClassifier
from qwen_allinone.eval.tables import interval, percent
from qwen_allinone.memory import embeddings
from qwen_allinone.model import Decision, SharedQwen, Threshold
from qwen_allinone.model.weights import loading
from training.public_sets import HELD_OUT, _plan

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
CARD = ROOT / "qwen_allinone" / "model" / "weights" / "bundled" / "README.md"
PAGES = {ROOT / "README.md": 11, ROOT / "README.zh-CN.md": 11, CARD: 60}
"""Pages that quote figures, and how many at least."""
_NAMES = {"**": "", "route (one of four)": "route", "路由（四选一）": "route", "情绪": "mood"}
"""Name of a figure in a page to its own, where they differ."""


def _sample(right: str, probabilities: dict[str, float]) -> Sample:
    row = LabelledRow(right, "text", (right,), "en")
    return Sample(row, Decision.from_probabilities(probabilities, Threshold()))


def test_a_figure_below_its_target_is_missed_and_listed() -> None:
    """Each sense of a target is judged, and what is missed stands in the result by name."""
    low = Figure.from_share("low", Proportion(4, 10), target=Target(0.5))
    even = Figure.from_share("even", Proportion(5, 10), target=Target(0.5, "above"))
    few = Figure.from_share("few", Proportion(1, 100), target=Target(0.02, "at most"))
    free = Figure.from_share("free", Proportion(1, 2))
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
    """Case does not matter, and one of them is enough."""
    asked = Exchange("what's my dog called", "en", "She is called biscuit!", soothed=False, expected=("Rex", "Biscuit"))
    assert asked.remembered
    assert asked.in_language
    assert not replace(asked, reply="She is called Luna!").remembered
    assert not replace(asked, reply="她叫豆豆").in_language


def test_a_reply_that_was_learned_is_a_copy(qwen: SharedQwen) -> None:
    """Case and white space do not make it new."""
    found = [Exchange("hi", "en", reply, soothed=False) for reply in ("Hello  There", "Good morning")]
    copied = figures(qwen, found, {bare("hello there")})[-1]
    assert (copied.what, copied.n, copied.value) == ("reply copied from the training", 2, 0.5)


def test_floors_learn_from_the_texts_of_the_training() -> None:
    """Some learn from the written texts alone, and some from all; a text counts under each of its routes."""
    row = {"text": "", "origin": "written", "routes": [], "mood": None, "reply": None}
    texts = [("good", "positive"), ("bad", "negative"), ("so so", "neutral")]
    rows = [row | {"text": text, "mood": mood, "routes": ["chat", "intent"]} for text, mood in texts]
    learned = Learned([*rows, *(row | {"text": f"fine {n}", "origin": "public", "mood": "negative"} for n in range(9))])
    assert learned.public
    assert {"good", "bad", "fine 1"} < learned.texts and "so so" not in learned.texts
    assert learned.classifiers(written=True)["mood"].predict("fine and good") == "positive"
    assert learned.classifiers(written=False)["mood"].predict("fine 3") == "negative"
    assert learned.classifiers(written=True)["route"].predict("good") in ("chat", "intent")


def test_the_floor_is_a_classifier_of_its_own() -> None:
    """It learns from the rows it is given, in each language apart, and knows nothing of another."""
    linear = NgramClassifier([("good film", "positive"), ("bad film", "negative"), ("a good one", "positive")])
    rows = [LabelledRow(text, text, (label,), "en") for text, label in (("good", "positive"), ("bad", "negative"))]
    assert floor(linear, rows).value == 1
    assert linear.predict("好") is None


def test_sorted_options_make_their_order_irrelevant(qwen: SharedQwen) -> None:
    """No answer of any model changes with the order if the toolkit asks; with the order as given, some do."""
    asked, some = corrections("intent", qwen), cases.written_cases("intent")[:12]
    assert order_figure(qwen, some, asked, "sorted", None).value == 0
    given = order_figure(qwen, some, as_given(asked), "given", None)
    assert given.value is not None
    assert given.value > 0


def test_public_texts_are_filtered_renamed_and_never_learned_ones(tmp_path: Path) -> None:
    """A set takes the rows of its values, each text once; one whose texts were all learned is left out."""
    rows = [
        {"text": "it 's new .", "label": "a_b", "cat": "x"},
        {"text": "it's new.", "label": "a_b", "cat": "x"},
        {"text": "old", "label": "c", "cat": "x"},
        {"text": "elsewhere", "label": "c", "cat": "y"},
    ]
    with gzip.open(tmp_path / "set.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    kept, gone = PublicSet("kept", "set", {"cat": {"x"}}, label="chat"), PublicSet("gone", "set", {"cat": {"z"}})
    assert cases.labelled_texts(replace(kept, label=None), tmp_path) == {"it's new.": "a b", "old": "c"}
    found = cases.public_cases(PublicGroup("title", "route", 9, (kept, gone)), tmp_path, {"old"})
    assert list(found) == ["title: kept"]
    assert [case.row.text for case in found["title: kept"]] == ["it's new."]


def test_unseen_sets_are_left_out_of_the_training() -> None:
    """Every set that is called unseen is never read by the recipe, or its rows are held out."""
    read = {file for _, _, file, _ in _plan()}
    unseen = [group for group in PUBLIC if ", unseen" in group.title and "rows" not in group.title]
    assert len(unseen) == 3
    for each in chain.from_iterable(group.sets for group in unseen):
        if each.file in read:
            column, values = HELD_OUT[each.file]
            assert set(each.where[column]) <= values, each.name


def test_the_written_sets_are_sound() -> None:
    """Every right answer is among the candidates, no text stands twice, and yes is as common as no."""
    intents, yes_no = cases.records("intents"), cases.records("yes_no")
    assert all(row["label"] in row["candidates"] and len(set(row["candidates"])) == 6 for row in intents)
    for name in ("intents", "yes_no", "chats", "custom_routes"):
        texts = [(row["text"], row.get("question")) for row in cases.records(name)]
        assert len(set(texts)) == len(texts)
    assert 0.4 < sum(row["label"] == "yes" for row in yes_no) / len(yes_no) < 0.6


def test_no_paraphrase_of_the_benchmark_is_trained_on() -> None:
    """Wordings are judged that the training does not use."""
    trained = (ROOT / "training" / "paraphrases.yaml").read_text(encoding="utf-8")
    wordings: list[str] = []
    for language in cases.content("paraphrases").values():
        wordings += chain.from_iterable(language.values())
    assert len(wordings) >= 36
    assert not [words for words in wordings if words in trained]


def test_user_routes_are_described_and_all_asked_for() -> None:
    """Every route of the set has a description and rows, and no row asks for any other."""
    asked = {row["label"] for row in cases.records("custom_routes")}
    described = yaml.safe_load((cases.FOLDER / "custom_routes.yaml").read_text(encoding="utf-8"))
    assert asked == set(described)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "nope"}, "no model 'nope'"),
        ({"data": Path("nowhere")}, "no such folder"),
        ({"data": ROOT / "docs"}, "lacks the data sets .*sentiment/zh_eprstmt"),
        ({"learned": Path("nowhere.jsonl")}, "write it by python -m training.learned --exclude benchmarks/sets"),
    ],
)
def test_what_is_not_there_is_refused_before_anything_is_measured(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """One clear line that names it, and no result file."""
    learned, out = tmp_path / "learned.jsonl", tmp_path / "result.json"
    learned.write_text('{"text": "a", "origin": "written"}\n', encoding="utf-8")
    with pytest.raises(typer.BadParameter, match=message):
        main(**{"learned": learned, "out": out, **options})
    assert list(tmp_path.iterdir()) == [learned]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_quote_the_measured_figures(path: Path) -> None:
    """Every row that is named after a figure has its n, value, interval, floor and target."""
    result = json.loads((RESULTS / "accuracy.json").read_text(encoding="utf-8"))
    figures = {figure["what"]: figure for figure in chain.from_iterable(result["figures"].values())}
    quoted = 0
    for line in path.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        figure = figures.get(_figure_name(cells[0]))
        if line.startswith("|") and figure is not None:
            assert cells[1:4] == _measured(figure), line
            assert not figure["floor"] or cells[4].split(" (")[0] == percent(figure["floor"]["value"]), line
            assert len(cells) < 6 or cells[5] == _target(figure), line
            quoted += 1
    assert quoted >= PAGES[path]


def _figure_name(cell: str) -> str:
    for written, meant in _NAMES.items():
        cell = cell.replace(written, meant)
    return cell


def _measured(figure: Mapping[str, Any]) -> list[str]:
    """Return n, value and interval as they are quoted; the values in the file are rounded."""
    share = Proportion(round(figure["value"] * figure["n"]), figure["n"])
    value = share.value if figure["interval"] else figure["value"]
    return [f"{figure['n']:,}", percent(value), interval(share) if figure["interval"] else ""]


def _target(figure: Mapping[str, Any]) -> str:
    if figure["target"] is None:
        return ""
    sense, bound = figure["target"].rsplit(" ", 1)
    return f"{sense} {percent(float(bound))}: {'met' if figure['met'] else 'missed'}"


def test_the_card_shows_every_fifth_reply() -> None:
    """The sample is that of the page of all replies."""
    card = CARD.read_text(encoding="utf-8")
    page = (RESULTS / "chats.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if " * | " in line]
    assert len(rows) == 20
    for _, prompt, memory, _, reply in rows:
        assert f"| {prompt} | {memory} | {reply}\n" in card


def test_the_results_are_those_of_the_weights_that_ship() -> None:
    """Weights and results change together."""
    assert json.loads((RESULTS / "accuracy.json").read_text(encoding="utf-8"))["weights"] == {
        "bundled": weights_digest(loading.bundled_folder()),
        "embedder": weights_digest(embeddings.bundled_folder()),
    }
