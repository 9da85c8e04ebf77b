import pytest

from qwen_allinone.tools.remembered import memory_that_answers

TOLD = ["今天下雪", "你还记得我叫什么吗", "Do you know my name", "我住在成都。", "I have a sister who lives in Rome"]


@pytest.mark.parametrize(
    "text", ["我住哪儿", "我生日是几号来着", "还记得吗。", "Guess where I live", "is it far", "Well?"]
)
def test_a_question_is_answered_by_what_users_said_of_themselves(text):
    """However it is asked; not by other remarks, and not by earlier questions."""
    assert memory_that_answers(text, TOLD) == "我住在成都。"


def test_a_clause_that_begins_like_a_question_is_none():
    """A memory may say who, when or where."""
    assert memory_that_answers("Who?", TOLD[-1:]) == TOLD[-1]


@pytest.mark.parametrize(
    ("text", "memories"), [("我回来了", TOLD), ("I live alone", TOLD), ("Who?", TOLD[:3]), ("Who?", [])]
)
def test_nothing_answers_where_nothing_is_asked_or_told(text, memories):
    """A remark gets a reply of its own, and so does a question about which nothing is known."""
    assert memory_that_answers(text, memories) is None
