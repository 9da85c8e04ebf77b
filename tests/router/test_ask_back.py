"""Asking back where two routes are close, and understanding the answer."""

import asyncio

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from qwen_allinone import Assistant
from qwen_allinone.errors import InputError, NotSureError
from qwen_allinone.model import Decision, Message, Threshold
from qwen_allinone.router import ASK, PromptRouter, Route, builtin_routes
from qwen_allinone.router.ask_back import AskBack

TEXT = "我的订单"
NEVER = Threshold(probability=1.0, margin=1.0)
UNUSUAL = Threshold(typicality=1.0)


def asking(make_router, **options) -> PromptRouter:
    """A router that is never sure, and asks."""
    return make_router(threshold=NEVER, ambiguous="ask", **options)


def test_the_user_is_asked_which_of_the_best_two_is_meant(make_router):
    """In the language of the text, by the descriptions; no Runnable runs."""
    router = asking(make_router)
    for text, opening in ((TEXT, "我不太确定你的意思"), ("my order", "I am not sure what you mean")):
        result = router.invoke(text)
        assert result.route == ASK
        assert result.output.startswith(opening)
        ranked = sorted(result.decision.probabilities, key=result.decision.probabilities.get, reverse=True)
        language = "zh" if text == TEXT else "en"
        for number, name in enumerate(ranked[:2], start=1):
            assert f"{number}. {router.route(name).described(language)}" in result.output


@pytest.mark.parametrize(("answer", "place"), [("1", 0), ("第二个", 1), ("The second one.", 1), ("１。", 0)])
def test_the_answer_is_understood(make_router, answer, place):
    """The earlier input goes where the answer says, with the turns before it; in every way of running."""
    router = asking(make_router)
    question = router.invoke(TEXT)
    ranked = sorted(question.decision.probabilities, key=question.decision.probabilities.get, reverse=True)
    earlier = [HumanMessage("你好"), AIMessage("你好！")]
    history = [*earlier, HumanMessage(TEXT), AIMessage(question.output)]
    given = {"text": answer, "history": history, "mark": 7}
    results = [router.invoke(given), asyncio.run(router.ainvoke(given)), *router.stream(given)]
    for result in results:
        assert result.route == ranked[place]
        name, passed_on = result.output
        assert name == ranked[place]
        assert (passed_on["text"], passed_on["mark"]) == (TEXT, 7)
        assert [each.content for each in passed_on["history"]] == ["你好", "你好！"]


def test_a_turn_that_asked_nothing_is_no_question(make_router):
    """What only looks like the question, or was said by the user, is none."""
    routes = builtin_routes()
    question = str(AskBack.about(TEXT, Decision({"chat": 0.5, "intent": 0.4, "summary": 0.1}), routes))
    said = [Message("user", TEXT), Message("assistant", question)]
    found = AskBack.pending(said, routes)
    assert found is not None
    assert (found.text, [route.name for route in found.routes]) == (TEXT, ["chat", "intent"])
    for history in ([], said[1:], [Message("user", question)], [said[0], Message("assistant", question[:-3])]):
        assert AskBack.pending(history, routes) is None
    other = asking(make_router).invoke(
        {"text": "1", "history": [Message("user", "hi"), Message("assistant", "1 or 2?")]}
    )
    assert other.route == ASK


def test_descriptions_are_never_looked_into():
    """Dollars, braces and control tokens in them stay as they are."""
    odd = Route("odd", {"zh": "要 $first {0} <|im_end|> 的"}, "chat")
    question = str(AskBack.about(TEXT, Decision({"odd": 0.6, "chat": 0.4}), [odd, *builtin_routes()]))
    assert "1. 要 $first {0} <|im_end|> 的\n" in question


def test_out_of_scope_has_a_way_of_its_own(bundled_qwen, make_router):
    """An input unlike all examples falls back, while a close one is asked about."""
    router = make_router(qwen=bundled_qwen, threshold=UNUSUAL, out_of_scope="fallback", fallback="chat")
    result = router.invoke("帮我订明天去成都的票")
    assert (result.decision.state, result.route) == ("out_of_scope", "chat")
    assert result.decision.option == "intent"
    sure = make_router(qwen=bundled_qwen, threshold=Threshold(typicality=0.0), out_of_scope="raise")
    assert sure.invoke("帮我订明天去成都的票").route == "intent"


def test_a_router_may_raise(make_router):
    """The error carries the decision."""
    router = make_router(threshold=NEVER, ambiguous="raise")
    with pytest.raises(NotSureError, match="no route is sure enough") as raised:
        router.invoke(TEXT)
    assert raised.value.args[1].state == "ambiguous"


def test_actions_that_make_no_sense_are_refused(make_router):
    """When the router is made."""
    with pytest.raises(InputError, match="needs a fallback"):
        make_router(ambiguous="fallback")
    with pytest.raises(ValueError, match="ambiguous"):
        make_router(ambiguous="guess")


def test_the_assistant_asks_and_understands(qwen, make_router, tmp_path):
    """The question is the turn's answer; the answer to it makes the turn about the earlier input."""
    assistant = Assistant(qwen, asking(make_router), home=tmp_path)
    turn = assistant.invoke(TEXT, user="ann")
    assert turn.route == ASK
    assert "remember" not in turn.timings_ms
    history = [Message("user", TEXT), Message("assistant", turn.output)]
    for clear in (assistant.invoke("2", history=history), asyncio.run(assistant.ainvoke("2", history=history))):
        ranked = sorted(turn.decision.probabilities, key=turn.decision.probabilities.get, reverse=True)
        assert (clear.text, clear.route, clear.output[0]) == (TEXT, ranked[1], ranked[1])
        assert clear.output[1]["history"] == []
    *_, streamed = assistant.stream("1", history=history)
    assert streamed.route == ranked[0]
