"""The LangChain decision model over the shared Qwen."""

import pytest

from qwen_allinone.model import Choice, SharedQwen

decisions = pytest.importorskip("langchain_core.decisions", reason="needs langchain-core 1.8 or later")


def test_answers_are_those_of_decide(qwen: SharedQwen) -> None:
    """Choice, score and yes-or-no answers carry exactly what the scorer found."""
    from qwen_allinone.model.langchain.decision_model import QwenDecisionModel

    questions = {
        "mood": decisions.Choice(instructions="Mood?", criteria={"good": "pleased", "bad": None}),
        "anger": decisions.Score(instructions="How angry?", criteria=["calm", "cross", "furious"]),
        "urgent": decisions.Noul(instructions="Urgent?"),
    }
    response = QwenDecisionModel(qwen=qwen).invoke({"state": "完全没人理我", "questions": questions})
    scored = qwen.decide("完全没人理我", questions)
    assert response.model == qwen.name
    assert response.choices["mood"].probabilities == pytest.approx(dict(scored["mood"].probabilities))
    assert response.choices["mood"].choice == scored["mood"].option
    assert response.scores["anger"].score == pytest.approx(scored["anger"].level)
    assert response.nouls["urgent"].noul == pytest.approx(scored["urgent"].probabilities["yes"])


def test_messages_before_the_last_are_history(qwen: SharedQwen) -> None:
    """A conversation is read as one, and the questions are about its last message."""
    from langchain_core.messages import AIMessage, HumanMessage

    from qwen_allinone.model import Message
    from qwen_allinone.model.langchain.decision_model import QwenDecisionModel

    question = Choice(instructions="Mood?", criteria={"good": None, "bad": None})
    state = [HumanMessage("你好"), AIMessage("你好呀"), HumanMessage("今天真糟")]
    response = QwenDecisionModel(qwen=qwen).invoke({"state": state, "questions": {"mood": question}})
    history = [Message("user", "你好"), Message("assistant", "你好呀")]
    expected = qwen.decide("今天真糟", {"mood": question}, history=history)["mood"]
    assert response.choices["mood"].probabilities == pytest.approx(dict(expected.probabilities))


def test_a_model_is_loaded_by_its_name(model_folder) -> None:
    """A folder or a name is enough; a loaded model besides is refused."""
    from qwen_allinone.errors import InputError
    from qwen_allinone.model.langchain.decision_model import QwenDecisionModel

    decider = QwenDecisionModel(model=str(model_folder))
    assert decider.qwen is SharedQwen.load(model_folder)
    assert decider.model == str(model_folder)
    with pytest.raises(InputError, match="not both"):
        QwenDecisionModel(model="bundled", qwen=decider.qwen)
