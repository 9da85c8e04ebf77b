"""Labelled texts of a question."""

import pytest
from pydantic import ValidationError

from qwen_allinone.model import Choice, Noul, Score
from qwen_allinone.model.decisions.examples import Examples
from qwen_allinone.model.decisions.questions import examples_of


def choice(**examples: list[str]) -> Choice:
    """A question about colours, with examples."""
    return Choice(instructions="Which?", criteria={"red": "warm", "blue": "cold"}, examples=examples)


def digest(question: Choice | Noul | Score) -> str:
    """The digest of its examples."""
    examples = examples_of(question)
    assert examples is not None
    return examples.digest


def test_neither_order_nor_names_are_part_of_the_digest():
    """The same texts under other names or in another order are the same examples; one given twice weighs more."""
    first = choice(red=["rose", "fire"], blue=["sea"])
    assert digest(first) == digest(choice(blue=["sea"], red=["fire", "rose"]))
    assert digest(first) != digest(choice(red=["rose", "fire", "rose"], blue=["sea"]))
    chinese = Choice(
        instructions="哪个？", criteria={"蓝": None, "红": None}, examples={"红": ["rose", "fire"], "蓝": ["sea"]}
    )
    assert digest(first) == digest(chinese)
    assert digest(first) != digest(choice(red=["rose"], blue=["sea", "fire"]))


def test_an_option_without_texts_is_known_by_its_description():
    """Of a choice; levels, and yes and no, need texts."""
    found = examples_of(choice(red=["rose", "fire"]))
    assert found is not None
    assert (dict(found.texts), dict(found.described)) == ({"red": ("fire", "rose")}, {"blue": "cold"})
    level = examples_of(Score(instructions="How much?", criteria=["none", "some"], examples={"0": ["a"]}))
    assert level is not None
    assert not level.described


def test_a_question_without_examples_has_none():
    """Empty lists are none."""
    assert examples_of(choice()) is None
    assert examples_of(choice(red=[], blue=[])) is None


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ({"green": ["leaf"]}, r"examples are given for \['green'\]; the options are \['red', 'blue'\]"),
        ({"red": ["rose", "  "]}, "an example of 'red' is blank"),
        ({"red": ["rose"], "blue": [" rose "]}, "'rose' is an example of 'red' and of 'blue'"),
    ],
)
def test_examples_that_make_no_sense_are_refused(examples, message):
    """With what is wrong and what to do."""
    with pytest.raises(ValidationError, match=message):
        choice(**examples)


def test_too_many_examples_are_refused():
    """There is an end to it."""
    with pytest.raises(ValueError, match="20001 examples are too many"):
        Examples({"red": [str(number) for number in range(20_001)]})
