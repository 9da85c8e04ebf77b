"""The assistant as a whole: on random models for how it works, on the bundled one for what it is worth."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from langchain_core.messages import AIMessageChunk
from langchain_core.runnables import RunnableGenerator, RunnableLambda
from listening_qwen import ListeningQwen
from pydantic import BaseModel

from qwen_allinone import Assistant
from qwen_allinone.errors import EmptyTextError, UnknownRouteError
from qwen_allinone.model import Capabilities, Message, SharedQwen, Threshold
from qwen_allinone.router import PromptRouter, Route
from qwen_allinone.tools import ChatTool, Intent, Sentiment, Summary

ROUTES = ("sentiment", "chat", "intent", "summary")
CHINESE = "会议拖了两小时，毫无进展，真让人失望。"
ENGLISH = "The meeting took two hours and nothing was decided."
HISTORY = (Message("user", "我的猫叫豆子。"), Message("assistant", "好可爱的名字！"))


@pytest.fixture
def qwen(models, tokenizer) -> ListeningQwen:
    """A random model with a reading limit, like the bundled one."""
    return ListeningQwen(
        models["qwen2"], tokenizer, capabilities=Capabilities(summary="extractive", max_input_tokens=256)
    )


@pytest.fixture
def assistant(qwen, tmp_path) -> Assistant:
    """The default assistant with short replies."""
    return make(qwen, tmp_path)


@pytest.fixture(scope="module")
def bundled() -> Assistant:
    """The default assistant on the model inside the package."""
    return Assistant.default(SharedQwen.load("bundled"))


def make(qwen: SharedQwen, home: Path, *, only: str | None = None) -> Assistant:
    """The default assistant with short replies, with all of its routes or with one."""
    made = Assistant.default(qwen, home=home, runnables={"chat": ChatTool(qwen=qwen, max_new_tokens=4)})
    for name in ROUTES if only else ():
        if name != only:
            made.router.remove(name)
    return made


def answering(qwen: SharedQwen, runnable) -> Assistant:
    """An assistant with a single route of the caller's own."""
    return Assistant(qwen, PromptRouter(qwen, [Route("own", {"zh": "全部"}, "own")], runnables={"own": runnable}))


# One turn


@pytest.mark.parametrize("text", [CHINESE, ENGLISH])
def test_a_turn_tells_everything_about_its_input(assistant, qwen, text):
    """Mood, decision, route, output and how long each step took."""
    turn = assistant.invoke(text)
    assert turn.text == text
    assert turn.sentiment.label in {"正面", "负面", "positive", "negative"}
    assert list(turn.decision.probabilities) == list(ROUTES)
    assert turn.route == turn.decision.option
    assert turn.output is not None
    assert turn.recalled == ()
    assert turn.model == qwen.name
    assert turn.truncated_tokens == 0
    assert set(turn.timings_ms) == {"decide", "answer", "total"}
    assert turn.timings_ms["total"] == pytest.approx(turn.timings_ms["decide"] + turn.timings_ms["answer"])


@pytest.mark.parametrize(
    ("route", "kind"), [("sentiment", Sentiment), ("chat", str), ("intent", Intent), ("summary", Summary)]
)
def test_every_route_comes_with_the_mood(qwen, tmp_path, route, kind):
    """Whatever is done with an input, its mood is decided on the same reading."""
    turn = make(qwen, tmp_path, only=route).invoke(CHINESE)
    assert isinstance(turn.output, kind)
    assert turn.sentiment.label in {"正面", "负面"}
    assert 1 <= turn.sentiment.intensity <= 5
    assert qwen.local.prefix_cache.statistics.misses <= 2  # the text, and a single sentence of it in a summary


def test_mood_and_route_are_decided_in_one_pass(assistant, qwen):
    """They are what separate questions would have given."""
    turn = assistant.begin(CHINESE)
    assert qwen.read == [CHINESE]
    apart = assistant.router.decide(CHINESE)
    assert dict(turn.decision.probabilities) == pytest.approx(dict(apart.probabilities), abs=1e-5)


@pytest.mark.parametrize("history", [(), HISTORY], ids=["alone", "continued"])
def test_the_sentiment_route_agrees_with_the_mood(qwen, tmp_path, history):
    """An opinion is not judged twice in two ways."""
    turn = make(qwen, tmp_path, only="sentiment").invoke(CHINESE, history=history)
    assert turn.output.label == turn.sentiment.label
    assert turn.output.probability == pytest.approx(turn.sentiment.probability, abs=1e-5)
    assert turn.output.intensity == pytest.approx(turn.sentiment.intensity, abs=1e-4)


def test_a_turn_can_be_followed_while_it_is_answered(qwen, tmp_path):
    """After begin, mood and route are known; the pieces are the answer; finish closes the turn."""
    assistant = make(qwen, tmp_path, only="chat")
    open_turn = assistant.begin(CHINESE)
    assert open_turn.route == "chat"
    assert open_turn.output is None
    pieces = list(open_turn.pieces())
    turn = assistant.finish(open_turn)
    assert turn.output == "".join(pieces).strip()
    assert turn.output == assistant.invoke(CHINESE).output


def test_a_result_that_is_no_text_comes_as_one_piece(qwen, tmp_path):
    """The piece is its readable line, the output is the result itself."""
    open_turn = make(qwen, tmp_path, only="intent").begin(CHINESE)
    (piece,) = open_turn.pieces()
    assert isinstance(open_turn.output, Intent)
    assert piece == str(open_turn.output)


def test_an_opinion_can_be_replied_to(qwen, tmp_path):
    """In a conversation an opinion gets words instead of a label, and keeps its route."""
    turn = make(qwen, tmp_path, only="sentiment").begin(CHINESE, reply_to_opinions=True)
    assert turn.route == "sentiment"
    assert isinstance(turn.runnable, ChatTool)


@pytest.mark.parametrize("text", ["", " \n"])
def test_a_blank_text_is_refused(assistant, text, tmp_path):
    """And nothing is remembered of it."""
    with pytest.raises(EmptyTextError):
        assistant.invoke(text, user="u1")
    with pytest.raises(EmptyTextError):
        assistant.analyze(text)
    assert list(tmp_path.iterdir()) == []


def test_a_long_text_tells_how_much_of_it_was_not_read(assistant, qwen):
    """What lies between its beginning and its end is counted."""
    text = "我们走了很远的路，" * 300
    turn = assistant.invoke(text)
    assert turn.truncated_tokens == len(qwen.chat.encode(text)) - 256
    assert turn.to_json()["truncated_tokens"] == turn.truncated_tokens


# As JSON


class Report(BaseModel):
    """A result of someone's own."""

    when: str
    path: Path


@dataclass
class Plain:
    """A result of someone else's."""

    values: tuple[int, ...]


@pytest.mark.parametrize("route", ROUTES)
def test_a_turn_as_json_has_the_documented_keys(qwen, tmp_path, route):
    """Plain values all the way down, in either language."""
    turn = make(qwen, tmp_path, only=route).invoke(CHINESE)
    plain = json.loads(json.dumps(turn.to_json(), allow_nan=False))
    keys = "route probabilities margin sentiment output recalled prompt model truncated_tokens timings_ms"
    assert list(plain) == keys.split()
    assert list(plain["sentiment"]) == ["label", "probability", "intensity"]
    assert plain["route"] == route
    assert plain["probabilities"] == {route: 1.0}
    assert plain["margin"] is None
    assert plain["output"] == (turn.output if route == "chat" else turn.output.model_dump(mode="json"))


@pytest.mark.parametrize(
    ("output", "plain"),
    [
        (Report(when="周三", path=Path("a")), {"when": "周三", "path": "a"}),
        (Plain((1, 2)), {"values": [1, 2]}),
        ({"keys": {1: "一"}}, {"keys": {"1": "一"}}),
        (None, None),
        (object, str(object)),
    ],
)
def test_whatever_a_runnable_gives_can_be_written_as_json(qwen, output, plain):
    """Models, dataclasses, containers, and anything else by its line."""
    turn = answering(qwen, RunnableLambda(lambda _: output)).invoke(CHINESE)
    assert turn.output is output
    assert json.loads(json.dumps(turn.to_json()))["output"] == plain


# History


def test_the_history_is_read_before_the_text(qwen, tmp_path):
    """By the decisions and by the reply."""
    assistant = make(qwen, tmp_path, only="chat")
    turn, alone = assistant.invoke("它喜欢什么？", history=HISTORY), assistant.invoke("它喜欢什么？")
    assert qwen.histories == [HISTORY, ()]
    assert turn.sentiment.probability != pytest.approx(alone.sentiment.probability, abs=1e-6)
    (messages, _), (alone_messages, _) = qwen.replies
    assert messages[1:] == [*HISTORY, Message("user", "它喜欢什么？")]
    assert alone_messages[1:] == [Message("user", "它喜欢什么？")]


@pytest.mark.parametrize("call", ["invoke", "analyze"])
def test_a_conversation_may_become_long(assistant, qwen, call):
    """The oldest turns are left out before they fill the context window, the latest are kept in their order."""
    history = [Message(role, f"第{number}句。") for number in range(300) for role in ("user", "assistant")]
    getattr(assistant, call)("好的", history=history)
    kept = list(qwen.histories[0])
    assert 4 < len(kept) < 600
    assert kept == history[-len(kept) :]
    assert len(qwen.chat.turns(kept)) <= qwen.context_window // 4


# Routes of one's own


def test_an_added_route_takes_part_with_its_runnable(qwen, tmp_path):
    """It stands beside the default ones, and may name one of the tools or a Runnable that comes along."""
    routes = [Route("weather", {"zh": "问天气的"}, "weather"), Route("tags", {"zh": "要关键词的"}, "keywords")]
    weather = RunnableLambda(lambda input: f"晴：{input['text']}")
    assistant = Assistant.default(qwen, routes=routes, home=tmp_path, runnables={"weather": weather})
    assert list(assistant.begin(CHINESE).decision.probabilities) == [*ROUTES, "weather", "tags"]
    for name in ROUTES:
        assistant.router.remove(name)
    assistant.router.remove("tags")
    turn = assistant.invoke("成都热吗")
    assert (turn.route, turn.output) == ("weather", "晴：成都热吗")


def test_a_route_of_a_default_name_replaces_it(qwen):
    """The rest stays."""
    assistant = Assistant.default(qwen, routes=[Route("intent", {"zh": "要做什么"}, "keywords")])
    assert [route.name for route in assistant.router.routes] == list(ROUTES)
    assert assistant.router.route("intent").runnable == "keywords"


def test_a_route_over_an_unknown_runnable_is_refused(qwen):
    """When the assistant is made."""
    with pytest.raises(UnknownRouteError, match="poet"):
        Assistant.default(qwen, routes=[Route("poem", {"zh": "要诗的"}, "poet")])


def test_the_routers_bounds_hold_in_a_turn(qwen):
    """A decision that is not sure enough goes to the fallback here as well."""
    tools = {name: RunnableLambda(lambda _, name=name: name) for name in ROUTES}
    routes = Assistant.default(qwen).router.routes
    for fallback in ("chat", "summary"):
        bounds = Threshold(probability=1.01)
        router = PromptRouter(qwen, routes, runnables=tools, threshold=bounds, fallback=fallback)
        turn = Assistant(qwen, router).invoke(CHINESE)
        assert not turn.decision.accepted
        assert turn.route == turn.output == fallback


def test_a_runnable_that_streams_messages_gives_its_text(qwen):
    """A chat model can stand behind a route."""

    def talk(inputs):
        for _ in inputs:
            yield from (AIMessageChunk("晴"), AIMessageChunk("天"), AIMessageChunk(""))

    open_turn = answering(qwen, RunnableGenerator(talk)).begin(CHINESE)
    assert list(open_turn.pieces()) == ["晴", "天", ""]
    assert open_turn.output == "晴天"


@pytest.mark.parametrize(
    ("pieces", "output"), [([], ""), ([" "], ""), ([" 好", "的 "], "好的"), ([1, "x"], "x"), ([None], None)]
)
def test_the_output_is_what_the_pieces_make_together(qwen, pieces, output):
    """A reply without a word is an empty text, and surrounding white space is no part of one."""

    def give(inputs):
        for _ in inputs:
            yield from pieces

    open_turn = answering(qwen, RunnableGenerator(give)).begin(CHINESE)
    assert list(open_turn.pieces()) == [str(piece) for piece in pieces if piece is not None]
    assert open_turn.output == output


def test_errors_of_a_runnable_pass_through(qwen, tmp_path):
    """And the turn is not remembered."""

    def fail(_):
        raise ConnectionError("no line")

    assistant = Assistant.default(qwen, home=tmp_path, runnables=dict.fromkeys(ROUTES, RunnableLambda(fail)))
    with pytest.raises(ConnectionError, match="no line"):
        assistant.invoke(CHINESE, user="u1")
    assert assistant.memory.list("u1") == []


# Memory


def test_what_a_user_said_is_recalled_by_another_assistant(qwen, tmp_path):
    """It lies in the folder, word for word, and reaches the reply; another user sees nothing of it."""
    first = make(qwen, tmp_path, only="chat").invoke("我住在上海", user="用户甲")
    assert first.recalled == ()
    assert {"recall", "remember"} < set(first.timings_ms)
    qwen.replies.clear()
    other = make(qwen, tmp_path, only="chat")
    turn = other.invoke("我住在哪里？", user="用户甲")
    assert turn.recalled == ("我住在上海",)
    assert "- 我住在上海" in turn.prompt
    assert qwen.replies[-1][1] == turn.prompt
    assert turn.to_json()["recalled"] == ["我住在上海"]
    for stranger in ("用户乙", "用户", "用户甲 "):
        assert other.invoke("我住在哪里？", user=stranger).recalled == ()


def test_a_text_does_not_recall_itself(qwen, tmp_path):
    """Saying the same again brings back nothing new."""
    assistant = make(qwen, tmp_path, only="chat")
    for _ in range(2):
        assert assistant.invoke("我住在上海", user="u1").recalled == ()
    assert [memory.text for memory in assistant.memory.list("u1")] == ["我住在上海"]


def test_long_memories_leave_room_for_the_reply(qwen, tmp_path):
    """They are kept whole and recalled by their beginnings."""
    assistant = make(qwen, tmp_path, only="chat")
    long = [f"{name}住在上海，" * 400 for name in ("我", "我们", "我家", "大家")]
    for text in long:
        assistant.memory.add("u1", text)
    turn = assistant.invoke("我住在上海哪里？", user="u1", history=HISTORY * 50)
    assert len(turn.recalled) == 4
    for recalled in turn.recalled:
        assert recalled.endswith("…")
        assert any(text.startswith(recalled[:-1]) for text in long)
    assert sum(len(qwen.chat.encode(recalled)) for recalled in turn.recalled) <= qwen.context_window // 4 + 16


def test_a_blank_user_is_refused(assistant):
    """Nobody in particular has no memory."""
    with pytest.raises(EmptyTextError, match="user"):
        assistant.invoke(CHINESE, user=" ")


def test_without_a_user_no_memory_is_opened(model_folder):
    """Neither Chroma nor the embedder is even imported."""
    program = (
        "import sys; from qwen_allinone import Assistant; from qwen_allinone.model import SharedQwen\n"
        f"turn = Assistant.default(SharedQwen.load({str(model_folder)!r})).invoke('好')\n"
        "print(turn.route, sorted({'chromadb', 'sentence_transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, encoding="utf-8", check=True)
    assert done.stdout.split()[1:] == ["[]"]


# Analysis and threads


def test_an_analysis_is_a_mood_and_a_reply(qwen):
    """The mood is that of a turn, the reply is written whatever the route would be."""
    assistant = Assistant.default(qwen)
    analysis = assistant.analyze(CHINESE)
    turn = assistant.begin(CHINESE)
    assert analysis.sentiment.label == turn.sentiment.label
    assert analysis.sentiment.probability == pytest.approx(turn.sentiment.probability, abs=1e-5)
    assert analysis.reply == ChatTool(qwen=qwen).invoke(
        {"text": CHINESE, "comfort": turn.sentiment.polarity == "negative"}
    )


def test_an_upset_user_is_comforted_first(qwen):
    """A negative mood puts the note behind the text, a positive one does not."""
    assistant = Assistant.default(qwen)
    texts = [CHINESE, ENGLISH, "好", "ok", "今天的实验成功了", "I am happy", "真差", "烦死了", "nice", "bad"]
    found = {assistant.begin(text).sentiment.polarity: text for text in texts}
    assert set(found) == {"positive", "negative"}, "the texts must cover both moods"
    for polarity, text in found.items():
        assistant.analyze(text)
        messages, notes = qwen.replies[-1]
        assert messages[-1].content == text
        assert bool(notes) == (polarity == "negative")


def test_a_turn_comforts_where_the_mood_is_surely_low(qwen, tmp_path):
    """Only a negative mood that is likely and not faint changes the reply; the turn says what the model was told."""
    assistant = make(qwen, tmp_path, only="chat")
    comforted = set()
    for text in [CHINESE, ENGLISH, "好", "ok", "今天的实验成功了", "I am happy", "真差", "烦死了", "nice", "bad"]:
        turn = assistant.invoke(text)
        mood = turn.sentiment
        low = mood.polarity == "negative" and mood.probability >= 0.6 and mood.intensity >= 2
        assert turn.prompt == ChatTool.notes("zh" if mood.label in {"正面", "负面"} else "en", comfort=low)
        assert qwen.replies[-1][1] == turn.prompt
        comforted.add(low)
    assert comforted == {True, False}, "the texts must cover both"


def test_two_threads_at_once_get_what_they_would_get_alone(qwen, tmp_path):
    """One model serves both, with their users apart."""
    assistant = make(qwen, tmp_path)
    texts = {"u1": CHINESE, "u2": ENGLISH}
    alone = {user: assistant.invoke(text) for user, text in texts.items()}
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(assistant.invoke, texts[user], user=user) for user in ("u1", "u2") * 3]
        for user, future in zip(("u1", "u2") * 3, asked, strict=True):
            turn = future.result()
            assert turn.route == alone[user].route
            assert turn.output == alone[user].output
            assert turn.sentiment.probability == pytest.approx(alone[user].sentiment.probability, abs=1e-5)
    for user, text in texts.items():
        assert [memory.text for memory in assistant.memory.list(user)] == [text]


# The bundled model


@pytest.mark.parametrize(
    ("text", "polarity"),
    [("太棒了，谢谢你，我特别开心！", "positive"), ("This is awful, I hate it.", "negative")],
)
def test_the_bundled_assistant_answers_in_both_languages(bundled, text, polarity):
    """A plain mood is recognised, whatever the route."""
    turn = bundled.invoke(text)
    assert turn.sentiment.polarity == polarity
    assert str(turn.output).strip()
    assert turn.model == "bundled"
