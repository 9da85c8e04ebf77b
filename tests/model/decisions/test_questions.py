from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import ValidationError
from tiny_qwen import MOOD

from qwen_allinone.errors import QuestionError
from qwen_allinone.model import Choice, Noul, NoulCriteria, Score
from qwen_allinone.model.decisions.questions import render_question


def rendered(*asked, **options) -> dict:
    """All parts of a rendered question."""
    return vars(render_question(*asked, **options))


@dataclass
class Outside:
    """A question as another library might bring it: the same fields, another class."""

    type: str
    instructions: Any
    criteria: Any = None


@dataclass
class OutsideOutcomes:
    """What yes and no mean, as another library might say it."""

    true: Any = None
    false: Any = None


@dataclass
class Case:
    """A question, how it reads, and the names of its options."""

    question: Any
    zh: str
    en: str
    options: list[str] = field(default_factory=list)


CASES = {
    "choice": Case(
        Choice(instructions="Mood?", criteria={"good": "glad", "bad": None, "so-so": ""}),
        zh="Mood?\n- good：glad\n- bad\n- so-so\n只回答一个选项。",
        en="Mood?\n- good: glad\n- bad\n- so-so\nAnswer with one option.",
        options=["good", "bad", "so-so"],
    ),
    "score": Case(
        Score(instructions="How urgent?", criteria=["not", "very"]),
        zh="How urgent?\n- 0：not\n- 1：very\n只回答一个数字。",
        en="How urgent?\n- 0: not\n- 1: very\nAnswer with one number.",
        options=["0", "1"],
    ),
    "noul": Case(
        Noul(instructions="Is it spam?"),
        zh="Is it spam?\n只回答是或否。",
        en="Is it spam?\nAnswer yes or no.",
        options=["yes", "no"],
    ),
    "noul with criteria": Case(
        Noul(instructions="Spam?", criteria=NoulCriteria(true="an advert", false="all else")),
        zh="Spam?\n是：an advert\n否：all else\n只回答是或否。",
        en="Spam?\nyes: an advert\nno: all else\nAnswer yes or no.",
        options=["yes", "no"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_questions_are_laid_out_in_both_languages(name):
    """The frame around the instructions follows the language; the instructions stay as they are."""
    case = CASES[name]
    assert render_question(case.question, "zh").text == case.zh
    assert render_question(case.question, "en").text == case.en
    assert list(render_question(case.question, "zh").options) == case.options


def test_yes_and_no_are_scored_in_the_language_of_the_text():
    """The names of the options are English, the words that are scored are those of the language."""
    question = Noul(instructions="?")
    assert render_question(question, "zh").options == {"yes": "是", "no": "否"}
    assert render_question(question, "en").options == {"yes": "yes", "no": "no"}


@pytest.mark.parametrize("name", CASES)
def test_questions_of_another_library_are_accepted(name):
    """Anything with the fields of langchain_core.decisions is laid out like our own."""
    own = CASES[name].question
    criteria = own.criteria
    if isinstance(criteria, NoulCriteria):
        criteria = OutsideOutcomes(criteria.true, criteria.false)
    for language in ("zh", "en"):
        assert rendered(Outside(own.type, own.instructions, criteria), language) == rendered(own, language)


def test_questions_of_langchain_core_are_accepted():
    """The question classes of langchain-core 1.8 are laid out like our own."""
    decisions = pytest.importorskip("langchain_core.decisions", reason="langchain-core 1.8 has it, 1.7 has not")
    question = decisions.Choice(instructions="Mood?", criteria={"good": "glad", "bad": None})
    own = Choice(instructions="Mood?", criteria={"good": "glad", "bad": None})
    assert rendered(question, "en") == rendered(own, "en")


def test_structured_instructions_and_descriptions_are_written_as_json():
    """What is not a string is shown as JSON, Chinese unescaped."""
    question = Choice(instructions={"任务": "情绪"}, criteria={"积极": {"例": ["高兴"]}})
    assert render_question(question, "zh").text.splitlines()[:2] == ['{"任务": "情绪"}', '- 积极：{"例": ["高兴"]}']


def test_labels_are_shown_stripped_and_answered_as_given():
    """White space around a label is not scored, and the label keeps its name."""
    rendered = render_question(Choice(instructions="?", criteria={" yes ": None, "no\n": None}), "en")
    assert rendered.options == {" yes ": "yes", "no\n": "no"}


def test_only_the_options_of_a_choice_are_moved():
    """An order moves labels with their descriptions; levels and yes or no keep theirs."""
    moved = render_question(MOOD, "zh", order=[2, 0, 1])
    assert list(moved.options) == ["中性", "积极", "消极"]
    assert moved.text.splitlines()[1:4] == ["- 中性", "- 积极：高兴", "- 消极：失望"]
    score = Score(instructions="?", criteria=["a", "b"])
    assert rendered(score, "zh", order=[1, 0]) == rendered(score, "zh")


@pytest.mark.parametrize(
    "question",
    [
        Choice(instructions="?", criteria={"a": None, "  ": None}),
        Choice(instructions="?", criteria={"a": None, " a": None}),
        Choice(instructions="?", criteria={"": None}),
        Choice(instructions=" \n", criteria={"a": None}),
        Noul(instructions=""),
        Outside("choice", "?", {}),
        Outside("box", "?", {}),
    ],
    ids=["blank", "equal once stripped", "empty", "no instructions", "no instructions (noul)", "no options", "type"],
)
def test_questions_that_make_no_sense_are_refused(question):
    """Blank and duplicate labels, blank instructions and unknown types are refused with one line."""
    with pytest.raises(QuestionError) as caught:
        render_question(question, "zh")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Choice(instructions="?", criteria={}),
        lambda: Choice(instructions="?", criteria={"a": None}, labels=["a"]),
        lambda: Score(instructions="?", criteria=["only one"]),
        lambda: Noul(instructions="?", criteria=NoulCriteria(true="only one")),
    ],
    ids=["no options", "unknown field", "one level", "half of an outcome"],
)
def test_incomplete_questions_cannot_be_made(make):
    """A question is checked when it is made."""
    with pytest.raises(ValidationError):
        make()


def test_dollar_signs_and_braces_are_plain():
    """Labels and instructions that look like variables are shown as they are."""
    rendered = render_question(Choice(instructions="$options {x}", criteria={"$label": "$$"}), "en")
    assert rendered.text == "$options {x}\n- $label: $$\nAnswer with one option."
