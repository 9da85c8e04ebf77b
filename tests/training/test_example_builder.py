"""Questions about a text, with their right answers."""

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from qwen_allinone.model import SharedQwen
from qwen_allinone.router.route import builtin_routes
from qwen_allinone.tools import ChatTool
from training.example_builder import Example, ExampleBuilder
from training.sources import Item

_ROUTES = {route.name for route in builtin_routes()}
_MEANINGS = {"refund": "wants money back", "parking": "where to leave the car", "visa": "papers for a journey"}
_INTENT = Item("I want my money back", "intents", intent="refund", intents=list(_MEANINGS), meanings=_MEANINGS)
_MOOD = Item("the soup was cold", "inputs", routes=("sentiment",), mood="negative", reply="Oh no.")


def _examples(qwen: SharedQwen, item: Item, count: int = 400) -> Iterator[Example]:
    builder = ExampleBuilder(qwen.chat, [_INTENT, _MOOD], text_tokens=40)
    for seed in range(count):
        example = builder.example(item, random.Random(seed))
        assert example is not None
        yield example


def _asked(qwen: SharedQwen, example: Example) -> Iterator[tuple[str, dict[str, float]]]:
    """Each question as the model reads it, with the share of every option."""
    for branch, answer in zip(example.branches, example.answers, strict=True):
        options = [qwen.chat.decode(leaf[:-1]) for leaf in branch.candidates]
        yield qwen.chat.decode(branch.suffix), dict(zip(options, answer, strict=True))


def _holds(text: str, words: list[str]) -> bool:
    return all(word in text for word in words)


def _undecided(example: Example) -> bool:
    return all(len(set(answer)) == 1 for answer in example.answers)


def test_a_text_that_says_nothing_decides_nothing(qwen: SharedQwen) -> None:
    """It comes now and then, without the item's words and reply, and all options share the answer."""
    blank = [each for each in _examples(qwen, _MOOD) if "cold" not in qwen.chat.decode(each.prefix).lower()]
    typed = [each for each in blank if _undecided(each)]
    assert 4 <= len(typed) <= 40
    assert all(len(branch.candidates) > 1 for example in typed for branch in example.branches)
    told = [each for each in _examples(qwen, _MOOD) if "cold" in qwen.chat.decode(each.prefix)]
    assert any(max(answer) > 0.9 and len(answer) > 1 for example in told for answer in example.answers)


def test_a_users_own_route_is_right_beside_the_shipped_ones(qwen: SharedQwen) -> None:
    """The label that fits is among the four, described or not, and it is the answer."""
    beside = [
        shares
        for example in _examples(qwen, _INTENT)
        for _, shares in _asked(qwen, example)
        if shares.keys() >= _ROUTES and len(set(shares.values())) > 1
    ]
    assert len(beside) > 10
    assert all(max(shares, key=shares.__getitem__) == "refund" for shares in beside)


def test_other_users_routes_are_wrong_for_a_text_of_a_shipped_one(qwen: SharedQwen) -> None:
    """They stand beside it at times and are never the answer."""
    beside = [
        shares
        for example in _examples(qwen, _MOOD)
        for stem, shares in _asked(qwen, example)
        if _MEANINGS.keys() & shares.keys() and len(set(shares.values())) > 1
    ]
    assert len(beside) > 10
    assert all(max(shares, key=shares.__getitem__) not in _MEANINGS for shares in beside)


def test_replies_are_taught_as_the_chat_tool_asks_for_them(qwen: SharedQwen) -> None:
    """They stand behind the tool's own context: comfort for who is upset, and the memory, alone or among others."""
    item = replace(_MOOD, memory="I cannot eat nuts")
    replying = [example for example in _examples(qwen, item) if len(example.answers[-1]) == 1]
    stems = [qwen.chat.decode(example.branches[-1].suffix) for example in replying]
    comforted = ChatTool.context("en", memories=[item.memory], comfort=True)
    plain = ChatTool.context("en", memories=[item.memory])
    assert sum(comforted in stem for stem in stems) > sum(plain in stem and comforted not in stem for stem in stems) > 0
    assert all(item.memory in stem for stem in stems)


def test_a_long_text_is_cut_in_its_middle(qwen: SharedQwen) -> None:
    """The model sees its beginning and its end."""
    long = Item("first " + "word " * 60 + "last", "inputs", mood="positive")
    read = [qwen.chat.decode(example.prefix) for example in _examples(qwen, long, count=40)]
    assert sum("first" in text and "last" in text and " … " in text for text in read) > 20


def test_every_second_text_is_cut_before_it_is_encoded(qwen: SharedQwen) -> None:
    """It then has more tokens, and says the same."""
    builder = ExampleBuilder(qwen.chat, [_MOOD], text_tokens=40)
    drawn = [builder.example(_MOOD, random.Random(seed), cut=cut) for seed in range(40) for cut in (0.0, 0.9)]
    lengths = [len(example.prefix) for example in drawn if example is not None]
    assert 10 < sum(more > less for less, more in zip(lengths[::2], lengths[1::2], strict=True)) < 30
    said = [qwen.chat.decode(example.prefix).casefold() for example in drawn if example is not None]
    assert said[::2] == said[1::2]


def test_every_third_text_that_is_only_asked_about_loses_some_words(qwen: SharedQwen) -> None:
    """A reply needs them all."""
    asked = Item("one two three four", "inputs", mood="positive")
    builder = ExampleBuilder(qwen.chat, [_MOOD], text_tokens=40)

    def shorter(item: Item) -> int:
        examples = [builder.example(item, random.Random(seed), bare=0.0, cut=0.0) for seed in range(60)]
        said = [qwen.chat.decode(example.prefix).casefold() for example in examples if example is not None]
        return sum(not _holds(text, asked.text.split()) for text in said)

    assert shorter(replace(asked, reply="fine")) + 6 < shorter(asked) < 45  # typing errors change some words as well


@pytest.mark.parametrize("right", ["yes", "no"])
def test_labels_are_asked_for_by_yes_or_no(qwen: SharedQwen, right: str) -> None:
    """Yes for the text's own label, no for another."""
    stems = [
        stem
        for example in _examples(qwen, _INTENT)
        for stem, shares in _asked(qwen, example)
        if shares.keys() == {"yes", "no"} and max(shares, key=shares.__getitem__) == right and shares["yes"] != 0.5
    ]
    assert len(stems) > 5
    assert all(("refund" in stem) == (right == "yes") for stem in stems)
