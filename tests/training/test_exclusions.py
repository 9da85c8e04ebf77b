"""Nothing that is judged is trained on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from qwen_allinone.errors import DataFileError
from qwen_allinone.eval import LabelledSet
from training.exclusions import Exclusions
from training.public_sets import held_out_labels
from training.sources import Item, Source

SETS = Path(__file__).parents[2] / "benchmarks" / "sets"
_FREE = Item("the barge drifted past the old mill", "free")


def _judged(name: str) -> dict[str, object]:
    row: dict[str, object] = json.loads((SETS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()[0])
    return row


def _left(item: Item) -> list[Item]:
    (source,) = Exclusions.from_paths([SETS]).applied_to([Source("some", 0.5, [_FREE, item])])
    assert (source.name, source.share, source.items[0]) == ("some", 0.5, _FREE)
    return list(source.items[1:])


@pytest.mark.parametrize("name", ["intents", "yes_no", "chats", "custom_routes"])
def test_texts_of_the_benchmark_are_dropped(name: str) -> None:
    """They are dropped as a text and as a reply, whatever stands around them."""
    text = str(_judged(name)["text"])
    assert _left(Item(text.upper(), "some")) == []
    assert _left(Item("say it", "some", reply=text)) == []


@pytest.mark.parametrize("name", ["sentiment", "routes"])
def test_texts_of_the_shipped_sets_are_dropped(name: str) -> None:
    """The rows that the package evaluates itself on."""
    assert _left(Item(LabelledSet.shipped(name).rows[-1].text, "some")) == []


def test_judged_labels_are_neither_answers_nor_candidates() -> None:
    """An intent whose label is judged goes; where such a label is another candidate, only that one goes."""
    candidates = _judged("intents")["candidates"]
    assert isinstance(candidates, list)
    held = sorted(held_out_labels())
    for label in (candidates[0], candidates[-1].upper(), held[0], held[-1]):
        item = Item("whatever it may be", "some", intent=label, intents=["mowing", "baking"])
        assert _left(item) == []
        other = replace(item, intent="mowing", intents=[label, "baking"])
        assert _left(other) == [replace(other, intents=["baking"])]


def test_judged_routes_and_memories_are_not_trained_on() -> None:
    """A user's route that is judged is no label, nor one of the meanings; a memory that is judged is none to recall."""
    route, memory = str(_judged("custom_routes")["label"]), "我对芒果过敏"
    assert _left(Item("whatever it may be", "some", intent=route.replace("_", " "), intents=["mowing"])) == []
    meant = Item("whatever it may be", "some", intent="mowing", intents=["baking"], meanings={route: "a word"})
    assert _left(meant) == [replace(meant, meanings={})]
    assert _left(Item("dinner?", "some", reply="No mango.", memory=memory)) == []


def test_without_files_only_the_sets_of_the_package_are_judged() -> None:
    """The caller names everything else."""
    text = str(_judged("chats")["text"])
    assert Exclusions.from_paths([]).applied_to([Source("some", 0.5, [Item(text, "some")])])


def test_a_file_without_texts_is_an_error(tmp_path: Path) -> None:
    """The line is named."""
    (tmp_path / "a.jsonl").write_text('{"words": "hello"}\n', encoding="utf-8")
    with pytest.raises(DataFileError, match=r"a\.jsonl, line 1: there is no text"):
        Exclusions.from_paths([tmp_path])


def test_held_out_labels_are_words() -> None:
    """A caller would write them so, the Chinese ones too."""
    assert {"play music", "add to playlist", "天气"} <= held_out_labels()
