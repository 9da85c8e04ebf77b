"""The written examples, the grammars, the readers of the data sets, and what is made out of them."""

import gzip
import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from training import grammar
from training.augmentation import augmented
from training.public_sets import HELD_OUT, SMP_WORDS, natural, public, unseen
from training.sources import Item, Source, hold_out
from training.topics import topics
from training.written import written


def _write(data: Path, name: str, rows: list[dict[str, Any]]) -> None:
    path = data / f"{name}.jsonl.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def test_the_written_examples_can_be_read_and_cover_everything() -> None:
    """Every line parses; both languages, all four routes and both moods are there in number."""
    sources = {source.name: source.items for source in written()}
    languages = Counter(item.language for items in sources.values() for item in items)
    routes = Counter(route for item in sources["inputs"] for route in item.routes)
    moods = Counter(item.mood for item in sources["opinions"])
    assert min(languages["zh"], languages["en"]) > 8000
    assert set(routes) == {"sentiment", "chat", "intent", "summary"}
    assert min(routes.values()) > 400
    assert min(moods["positive"], moods["negative"]) > 1500
    assert all(item.reply for item in sources["replies"])
    wordings = Counter(item.reply for item in sources["replies"])
    assert sum(count > 4 for count in wordings.values()) > 1800


def test_an_intent_is_asked_under_every_name_and_never_against_itself() -> None:
    """Each label of ``intents`` has other candidates, and none of them is another of its own names."""
    (intents,) = [source.items for source in written() if source.name == "intents"]
    named: dict[str, set[str | None]] = {}
    for item in intents:
        assert item.intent not in item.intents
        assert len(item.intents) > 2
        named.setdefault(item.text, set()).add(item.intent)
    assert sum(len(names) > 1 for names in named.values()) > 0.8 * len(named)
    labels = {item.intent for item in intents}
    assert len({label for item in intents for label in item.intents}) > 0.3 * len(labels)


def test_yes_or_no_questions_have_both_answers() -> None:
    """No question of ``questions`` can be answered without the text."""
    (questions,) = [source.items for source in written() if source.name == "questions"]
    answers: dict[str, Counter[bool]] = {}
    for item in questions:
        for wording, answer in item.questions:
            answers.setdefault(wording, Counter())[answer] += 1
    assert len(answers) > 250
    assert all(0.25 < each[True] / each.total() < 0.75 for each in answers.values())


def test_data_sets_are_read_from_the_folder_without_their_test_rows(tmp_path: Path) -> None:
    """A set that is there is read, its test and development splits are left out, and missing sets are no error."""
    rows = [
        {"text": "it 's fine , really .", "label": "positive", "split": "train"},
        {"text": "so and so", "label": "positive", "split": "dev"},
        {"text": "never again", "label": "negative", "split": "test"},
    ]
    _write(tmp_path, "sentiment/en_sst2", rows)
    (source,) = public(tmp_path)
    (item,) = source.items
    assert (item.text, item.mood, item.routes) == ("it's fine, really.", "positive", ("sentiment",))


@pytest.mark.parametrize("name", [name for name in HELD_OUT if name.startswith("intent")])
def test_labels_that_are_held_out_are_no_candidates_either(name: str, tmp_path: Path) -> None:
    """Neither the texts of a held-out label nor its name among the candidates is ever seen."""
    column, values = HELD_OUT[name]
    rows = [{"text": f"{label} please", column: label} for label in ["aKept", "bKept", *values]]
    _write(tmp_path, name, rows)
    (source,) = public(tmp_path)
    assert {item.text for item in source.items} == {"aKept please", "bKept please"}
    assert {label for item in source.items for label in item.intents} == {"a kept", "b kept"}


@pytest.mark.parametrize(
    ("name", "label", "text", "routes"),
    [
        ("intent/en_clinc150", "make_call", "call my mother", ("intent",)),
        ("intent/en_clinc150", "weather", "what is it like outside", ()),
        ("intent/en_clinc150", "thank_you", "much obliged", ()),
        ("intent/zh_smp2017", "email", "帮我发一封邮件", ("intent",)),
        ("intent/zh_smp2017", "map", "河边在哪里", ()),
        ("intent/zh_smp2017", "chat", "帮我想想，我是谁", ("chat",)),
    ],
)
def test_a_request_that_is_put_as_one_has_its_route(
    name: str, label: str, text: str, routes: tuple[str, ...], tmp_path: Path
) -> None:
    """A question may be talk or a request, so it teaches no route."""
    _write(tmp_path, name, [{"text": text, "label": label, "split": "train"}])
    (item,) = [item for source in public(tmp_path) for item in source.items]
    assert item.routes == routes


def test_what_is_held_out_validates(tmp_path: Path) -> None:
    """Held-out categories with their mood, held-out labels with each other; nothing trained on, tested or unwatched."""
    reviews = [
        {"text": "on the way", "label": "positive", "split": "dev"},
        {"text": "kept back", "label": "negative", "split": "test"},
        {"text": "learnt", "label": "negative", "split": "train"},
    ]
    requests = [{"text": f"about {label}", "label": label} for label in ("alarm", "recipe", "oos", "learnt")]
    _write(tmp_path, "sentiment/en_sst2", reviews)
    _write(tmp_path, "sentiment/zh_shopping", [{"text": "情节拖沓", "label": "negative", "cat": "书籍"}])
    _write(tmp_path, "intent/en_clinc150", requests)
    _write(tmp_path, "intent/zh_smp2017", [{"text": label, "label": label} for label in SMP_WORDS])
    mood, *intents = sorted(unseen(tmp_path), key=lambda item: item.source != "sst2 unseen")
    assert (mood.text, mood.mood) == ("on the way", "positive")
    wanted = {"about alarm": "alarm", "about recipe": "recipe"} | SMP_WORDS
    assert {item.text: item.intent for item in intents} == wanted
    assert not any({"learnt", "oos"} & set(item.intents) for item in intents)
    assert not {item.text for item in intents} & {item.text for source in public(tmp_path) for item in source.items}


def test_tokenised_text_becomes_plain_again() -> None:
    """Clitics and punctuation go back to their words."""
    assert natural("it 's n't bad , i 'd say !") == "it'sn't bad, i'd say!"


def test_held_out_rows_are_not_trained_on() -> None:
    """Rows that validate are taken out of the others, and the same ones every time."""
    kept, held = hold_out(written(), 0.04)
    trained = {item.text for source in kept for item in source.items}
    assert held
    assert not trained & {item.text for item in held}
    assert [item.text for item in hold_out(written(), 0.04)[1]] == [item.text for item in held]


def test_grammars_fill_every_slot_and_replies_take_up_the_words() -> None:
    """No slot is left open, and what stands for a slot in a reply stands in the text or the memory too."""
    sources = {source.name: source.items for source in grammar.drawn(seed=0)}
    assert {"opinions.zh", "opinions.en", "dialogue.zh", "dialogue.en"} == set(sources)
    for items in sources.values():
        assert not [item for item in items if re.search("[{}]", item.text + (item.reply or ""))]
    for language in ("zh", "en"):
        exchanges = sources[f"dialogue.{language}"]
        assert sum(bool(item.memory) for item in exchanges) > 0.4 * len(exchanges)
    lists = {"food": [f"soup {number}" for number in range(200)], "dish": ["hot {food}", "cold {food}"]}
    words: dict[str, str] = {}
    asked = grammar.fill("I want {dish}", lists, random.Random(1), words)
    assert grammar.fill("{dish}!", lists, random.Random(2), words) == f"{asked.removeprefix('I want ')}!"


def test_a_grammar_with_an_unknown_slot_is_an_error() -> None:
    """The slot is named."""
    with pytest.raises(KeyError, match="drink"):
        grammar.fill("a {drink}", {"food": ["soup"]}, random.Random(0))


def test_topics_ask_for_a_word_of_the_text_among_words_of_others() -> None:
    """The word was in the text, and none of the other candidates is; at times it is taken out."""
    texts = [f"the {name} story of {place} in winter" for name in _NAMES for place in _PLACES]
    items = topics([Source("a", 1.0, [Item(text, "a") for text in texts])], seed=0).items
    assert {str(item.intent) in item.text for item in items} == {True, False}
    for item in items:
        assert any(str(item.intent) in text and set(item.text.split()) <= set(text.split()) for text in texts)
        assert item.intents
        assert not any(other in item.text.lower() for other in item.intents)


_NAMES = ("lantern", "harbour", "orchard", "railway", "cathedral")
_PLACES = ("london", "madrid", "vienna", "lisbon")


def test_augmentation_keeps_the_words_that_carry_the_meaning() -> None:
    """Typing errors, case and signs change; a negation never goes missing, and the text is never empty."""
    item = Item("这家店的服务不算好，下次不来了。", "opinions", mood="negative")
    drawn = {augmented(item, random.Random(seed)) for seed in range(4000)}
    assert len(drawn) > 10
    assert all(text.count("不") == 2 for text in drawn)
    assert augmented(Item("!", "inputs"), random.Random(1))
