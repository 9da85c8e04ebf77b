"""A reply takes up what its memory says, whatever that is."""

import random
from dataclasses import replace

import pytest

from training.entity_swapping import EntitySwapper, copied_entity
from training.sources import Item

_DOG = Item("What is my dog called?", "replies", memory="My dog is called Biscuit", reply="Your dog is called Biscuit!")
_HOME = Item("我老家在哪", "replies", memory="我老家在昆明", reply="你老家在昆明，我记得。")


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (_DOG, "Biscuit"),
        (_HOME, "在昆明"),
        (replace(_DOG, text="Where is Biscuit?"), ""),
        (replace(_DOG, memory="My cat is Tom"), ""),
        (replace(_DOG, memory=""), ""),
        (replace(_DOG, reply=None), ""),
    ],
)
def test_what_is_taken_up_is_in_memory_and_reply_and_not_in_the_text(item: Item, words: str) -> None:
    """Nothing is where one of them is missing, or where they share but little words."""
    assert copied_entity(item) == words


def test_words_are_exchanged_in_memory_and_reply_alike() -> None:
    """Words of another memory in the same language stand in both; the other times nothing is changed."""
    other = Item("Who is she?", "replies", memory="My aunt is called Zoe", reply="Aunt Zoe: she is called Zoe.")
    swapper = EntitySwapper([_DOG, _HOME, other])
    drawn = [swapper.swap(_DOG, random.Random(seed)) for seed in range(100)]
    changed = [item for item in drawn if item != _DOG]
    assert 10 < len(changed) < 60  # at times the words that are lent are its own
    assert all((item.memory, item.reply) == ("My dog is called Zoe", "Your dog is called Zoe!") for item in changed)
    assert {item.text for item in drawn} == {_DOG.text}


def test_an_exchange_without_a_memory_stays_as_it_is() -> None:
    """There is nothing to take up."""
    swapper, item = EntitySwapper([_DOG]), replace(_DOG, memory="")
    assert all(swapper.swap(item, random.Random(seed)) is item for seed in range(20))


def test_a_word_is_not_exchanged_inside_another() -> None:
    """The rest would be no word any more."""
    item = Item("What do I like?", "replies", memory="I paint the party in art", reply="You like art")
    other = Item("Who is she?", "replies", memory="She is called Zoe", reply="Her name: called Zoe")
    drawn = {EntitySwapper([item, other]).swap(item, random.Random(seed)).memory for seed in range(40)}
    assert drawn == {item.memory, "I paint the party in Zoe"}
