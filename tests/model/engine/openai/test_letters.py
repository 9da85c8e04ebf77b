"""Decisions by the letter with which a reply would begin."""

import json
from collections.abc import Callable

import pytest
from scripted_server import MOOD, Answer, Body, always, first_words, models, reply, scripted_server

from qwen_allinone.errors import (
    CapabilityError,
    QuestionError,
)
from qwen_allinone.model import Calibration, Choice, Noul, Score, SharedQwen


def test_letters_decide_where_there_is_no_systemone() -> None:
    """The shares of a letter's spellings add up; one that is not told is as likely as the last word told."""
    words = {"A": -2.0, " a": -3.0, "B": -0.5, "Well": -4.0}
    with scripted_server(models=models("m"), chat=first_words(**words)) as script:
        qwen = SharedQwen.connect(script.url)
        criteria = {"angry": "cross", "calm": None, "sad": None}
        decision = qwen.decide("好的", {"mood": Choice(instructions="Mood?", criteria=criteria)})["mood"]
    shares = {"angry": 2.718281828**-2 + 2.718281828**-3, "calm": 2.718281828**-0.5, "sad": 2.718281828**-4}
    total = sum(shares.values())
    assert decision.probabilities == pytest.approx({name: share / total for name, share in shares.items()})
    asked = script.asked[-1][1]
    question = json.dumps(asked["messages"], ensure_ascii=False)
    assert "- A. angry：cross" in question
    assert "- C. sad" in question
    assert (asked["max_tokens"], asked["logprobs"], asked["top_logprobs"]) == (1, True, 20)


def test_the_prior_of_a_letter_is_asked_for_in_the_language_of_the_text() -> None:
    """The question reads the same, only the text says nothing."""
    with scripted_server(models=models("m"), chat=first_words(A=-1.0, B=-2.0)) as script:
        SharedQwen.connect(script.url).decide("今天好", {"mood": MOOD}, calibration=Calibration(prior=True))
    asked, prior = (body["messages"] for path, body in script.asked if path.endswith("completions"))
    assert asked[0] == prior[0]
    assert (asked[1]["content"], prior[1]["content"]) == ("今天好", "N/A")


def test_of_tokens_that_look_alike_the_likeliest_counts() -> None:
    """Wherever it stands in the list."""
    words = [{"token": token, "logprob": value} for token, value in (("A", -0.5), ("B", -1.5), ("A", -9.0))]
    answer = Answer({"choices": [{"logprobs": {"content": [{"token": "A", "top_logprobs": words}]}}]})
    with scripted_server(models=models("m"), chat=always(answer)) as script:
        need = SharedQwen.connect(script.url).decide("好", {"need": Noul(instructions="?")})["need"]
    assert need.option == "yes"


def test_every_question_has_a_letter_per_option() -> None:
    """Yes-or-no and levels too; the missing endpoint is asked for once."""
    with scripted_server(models=models("m"), chat=first_words(A=-1.0, B=-1.5)) as script:
        questions = {
            "need": Noul(instructions="Answer needed?"),
            "urgency": Score(instructions="Urgent?", criteria=["later", "now"]),
        }
        decisions = SharedQwen.connect(script.url).decide("Where is it?", questions)
    assert decisions["need"].option == "yes"
    assert decisions["urgency"].option == "0"
    assert [path for path, _ in script.asked].count("/v1/systemone") == 1


@pytest.mark.parametrize("chat", [reply("hello"), always(Answer({"choices": [{"message": {"content": "A"}}]}))])
def test_a_server_that_tells_no_likelihoods_writes_but_does_not_decide(chat: Callable[[Body], Answer]) -> None:
    """It says what is missing."""
    without = always(Answer({"choices": [{"logprobs": None}]}))
    with scripted_server(
        models=models("m"), chat=lambda body: (chat if body.get("stream") else without)(body)
    ) as script:
        qwen = SharedQwen.connect(script.url)
        with pytest.raises(CapabilityError, match="neither /systemone nor logprobs"):
            qwen.decide("好", {"mood": MOOD})


def test_a_model_that_answers_with_no_letter_does_not_decide() -> None:
    """A decision is never made up."""
    with (
        scripted_server(models=models("m"), chat=first_words(Well=-0.1, The=-3.0)) as script,
        pytest.raises(CapabilityError, match="'Well', 'The'"),
    ):
        SharedQwen.connect(script.url).decide("好", {"mood": MOOD})


def test_letters_that_are_next_to_impossible_do_not_decide() -> None:
    """A model that would think first has not answered, whatever it thinks of the letters."""
    words = {"<think>": -0.0001, "A": -12.0, "B": -13.0}
    with (
        scripted_server(models=models("m"), chat=first_words(**words)) as script,
        pytest.raises(CapabilityError, match="'<think>'"),
    ):
        SharedQwen.connect(script.url).decide("好", {"mood": MOOD})


def test_more_options_than_a_server_tells_are_refused() -> None:
    """Letters beyond would never be seen."""
    many = Choice(instructions="Which?", criteria={f"option {number}": None for number in range(21)})
    with (
        scripted_server(models=models("m"), chat=first_words(A=-1.0)) as script,
        pytest.raises(QuestionError, match="20 options"),
    ):
        SharedQwen.connect(script.url).decide("好", {"which": many})
