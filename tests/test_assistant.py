"""The assistant as a whole: on random models for how it works, on the bundled one for what it is worth."""

import asyncio
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.runnables import RunnableGenerator, RunnableLambda
from listening_qwen import ListeningQwen
from pydantic import BaseModel

from qwen_allinone import Assistant
from qwen_allinone.assistant import AssistantInput, Turn
from qwen_allinone.errors import EmptyTextError, InputError, ModelNotFoundError, UnknownRouteError
from qwen_allinone.model import Capabilities, Message, SharedQwen, Threshold
from qwen_allinone.router import PromptRouter, Route
from qwen_allinone.tools import ChatTool, Intent, Sentiment, SentimentTool, Summary
from qwen_allinone.tools.examples import examples
from qwen_allinone.tools.sentiment import POLES

ROUTES = ("sentiment", "chat", "intent", "summary")
CHINESE = "会议拖了两小时，毫无进展，真让人失望。"
ENGLISH = "The meeting took two hours and nothing was decided."
HISTORY = (Message("user", "我的猫叫豆子。"), Message("assistant", "好可爱的名字！"))


@pytest.fixture
def qwen(models, tokenizer) -> ListeningQwen:
    """A random model with a reading limit, like the bundled one."""
    return ListeningQwen.from_model(
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


def test_mood_and_route_are_decided_in_one_pass(qwen, tmp_path):
    """They are what separate questions would have given."""
    assistant = make(qwen, tmp_path)
    turn = next(assistant.stream(CHINESE))
    assert qwen.read == [CHINESE]
    apart = assistant.router.decide(CHINESE)
    assert dict(turn.decision.probabilities) == pytest.approx(dict(apart.probabilities), abs=1e-5)


@pytest.mark.parametrize("history", [(), HISTORY], ids=["alone", "continued"])
def test_a_sentiment_turn_decides_its_mood_once(qwen, tmp_path, history):
    """The route's answer is the mood of the turn, which the tool by itself would have given too."""
    turn = make(qwen, tmp_path, only="sentiment").invoke(CHINESE, history=history)
    assert qwen.read == [CHINESE]
    assert turn.output == turn.sentiment
    alone = SentimentTool(qwen=qwen).invoke({"text": CHINESE, "history": list(history)})
    assert alone.label == turn.output.label
    assert alone.probability == pytest.approx(turn.output.probability, abs=1e-5)
    assert alone.intensity == pytest.approx(turn.output.intensity, abs=1e-4)


def test_the_router_of_an_assistant_works_alone(qwen, tmp_path):
    """Behind it the sentiment tool, given a bare text, decides the mood itself."""
    result = make(qwen, tmp_path, only="sentiment").router.invoke(CHINESE)
    assert isinstance(result.output, Sentiment)
    assert qwen.read == [CHINESE, CHINESE]


def test_an_opinion_can_be_replied_to(qwen, tmp_path):
    """In a conversation an opinion may get words instead of a label, and keeps its route."""
    chat = ChatTool(qwen=qwen, max_new_tokens=4)
    assistant = Assistant.default(qwen, home=tmp_path, runnables={"sentiment": chat})
    for name in ("chat", "intent", "summary"):
        assistant.router.remove(name)
    turn = assistant.invoke(CHINESE)
    assert turn.route == "sentiment"
    assert isinstance(turn.output, str)


@pytest.mark.parametrize("route", ["sentiment", "intent", "summary"])
def test_only_a_reply_has_a_prompt(qwen, tmp_path, route):
    """What the chat tool is told is told of chat turns alone."""
    assert make(qwen, tmp_path, only=route).invoke(CHINESE).prompt == ""


# Input


@pytest.mark.parametrize(
    "given",
    [{"text": CHINESE}, AssistantInput(text=CHINESE), {"text": CHINESE, "user": None, "history": []}],
    ids=["mapping", "typed", "all fields"],
)
def test_an_input_is_a_text_or_has_one(assistant, given):
    """A mapping and a typed input are what the text alone is."""
    assert assistant.invoke(given).decision == assistant.invoke(CHINESE).decision


def test_user_and_history_come_in_the_mapping_or_beside_the_text(qwen, tmp_path):
    """Both ways say the same; what stands beside wins, so that a bound user cannot be changed by an input."""
    assistant = make(qwen, tmp_path, only="chat")
    assistant.invoke({"text": "我住在上海", "user": "u1", "history": HISTORY})
    assert list(qwen.histories[-1]) == list(HISTORY)
    assistant.bind(user="u1").invoke({"text": "我养了一只猫", "user": "u2"})
    assert [each.text for each in assistant.memory.list("u1")] == ["我住在上海", "我养了一只猫"]
    assert assistant.memory.list("u2") == []


@pytest.mark.parametrize(
    ("given", "fields", "words"),
    [
        (123, {}, "a text, or a mapping with text, user, history; given int"),
        (None, {}, "given NoneType"),
        (["hi"], {}, "given list"),
        ({"text": "hi", "usr": "u1"}, {}, "usr: .*; an input has text, user, history"),
        ("hi", {"usr": "u1"}, "usr: .*; an input has text, user, history"),
        ({"user": "u1"}, {}, "text: Field required"),
        ({"text": 3}, {}, "text: "),
        ("hi", {"user": 3}, "user: "),
        ("hi", {"history": "hello"}, "history: .*list of turns; given str"),
        ("hi", {"history": [("wizard", "hello")]}, "history: "),
    ],
)
@pytest.mark.parametrize("call", ["invoke", "stream", "ainvoke"])
def test_an_input_that_cannot_work_gets_one_clear_line(assistant, call, given, fields, words):
    """The error says what was given and what is allowed, however the assistant is called."""
    with pytest.raises(InputError, match=words) as caught:
        answer = getattr(assistant, call)(given, **fields)
        asyncio.run(answer) if call == "ainvoke" else list(answer)
    assert "\n" not in str(caught.value)


def test_an_assistant_can_be_made_of_the_name_of_a_model(model_folder):
    """A name, a folder or a path is loaded; one that is no model is refused."""
    for name in (model_folder, str(model_folder)):
        assert Assistant.default(name).qwen is SharedQwen.load(str(model_folder))
    with pytest.raises(ModelNotFoundError, match="nope"):
        Assistant.default("nope")


# As a Runnable


def test_a_stream_is_the_turn_in_pieces(qwen, tmp_path):
    """The first piece has mood and route, those between the answer, the last the times; together they are the turn."""
    assistant = make(qwen, tmp_path, only="chat")
    first, *pieces, last = assistant.stream(CHINESE, user="u1")
    assert (first.route, first.output) == ("chat", None)
    assert set(first.timings_ms) == {"decide", "recall"}
    whole = first
    for piece in (*pieces, last):
        whole += piece
    assert whole.output == "".join(piece.output for piece in pieces)
    assert set(whole.timings_ms) == {"decide", "recall", "answer", "remember", "total"}
    again = assistant.invoke(CHINESE)
    assert (whole.output, whole.decision, whole.sentiment) == (again.output, again.decision, again.sentiment)


def test_a_result_that_is_no_text_comes_in_one_piece(qwen, tmp_path):
    """It is the result itself."""
    _, piece, last = make(qwen, tmp_path, only="intent").stream(CHINESE)
    assert isinstance(piece.output, Intent)
    assert (piece + last).output is piece.output


def test_a_turn_that_is_left_early_is_not_remembered_by_itself(qwen, tmp_path):
    """The caller may do so."""
    assistant = make(qwen, tmp_path, only="chat")
    for piece in assistant.stream(CHINESE, user="u1"):
        turn = piece
        break
    assert assistant.memory.list("u1") == []
    assert "remember" in assistant.remember(turn, "u1").timings_ms
    assert [each.text for each in assistant.memory.list("u1")] == [CHINESE]


def test_every_way_of_calling_gives_the_same_turn(qwen, tmp_path):
    """invoke, ainvoke, batch, abatch, and a function behind a stream."""
    assistant = make(qwen, tmp_path)

    async def streamed() -> Turn:
        turn = None
        async for piece in assistant.astream(CHINESE):
            turn = piece if turn is None else turn + piece
        return turn

    turns = [
        assistant.invoke(CHINESE),
        asyncio.run(assistant.ainvoke(CHINESE)),
        *assistant.batch([CHINESE]),
        *asyncio.run(assistant.abatch([{"text": CHINESE}])),
        *(assistant | (lambda turn: turn)).stream(CHINESE),
        asyncio.run(streamed()),
    ]
    assert len(turns) == 6
    for turn in turns:
        assert isinstance(turn, Turn)
        assert (turn.route, turn.output) == (turns[0].route, turns[0].output)
        assert set(turn.timings_ms) == {"decide", "answer", "total"}


def test_a_batch_gives_errors_in_place(assistant):
    """LangChain's own word for it works."""
    turn, error = assistant.batch([CHINESE, " "], return_exceptions=True)
    assert turn.text == CHINESE
    assert isinstance(error, EmptyTextError)


def test_a_route_that_is_async_only_is_awaited(qwen):
    """A turn that is awaited calls the async methods of what stands behind its route."""

    async def answer(given: dict) -> str:
        return given["text"].upper()

    async def last(pieces) -> list[Turn]:
        return [piece async for piece in pieces]

    assistant = answering(qwen, RunnableLambda(answer))
    assert asyncio.run(assistant.ainvoke("hi")).output == "HI"
    assert asyncio.run(last(assistant.astream("hi")))[1].output == "HI"


def test_what_stands_behind_a_route_gets_everything_that_is_known(qwen):
    """Text, history, memories, whether to comfort, and the mood."""
    assistant = answering(qwen, RunnableLambda(lambda given: given))
    turn = assistant.invoke(CHINESE, history=[("human", "你好"), AIMessage("你好呀")])
    assert turn.output == {
        "text": CHINESE,
        "history": [Message("user", "你好"), Message("assistant", "你好呀")],
        "memories": [],
        "comfort": turn.sentiment.upset,
        "sentiment": turn.sentiment,
    }


def test_the_types_of_input_and_output_are_told(assistant):
    """Schemas say what goes in and what comes out."""
    given = assistant.get_input_jsonschema()["$defs"]["AssistantInput"]
    assert set(given["properties"]) == {"text", "user", "history"}
    assert given["required"] == ["text"]
    assert {"sentiment", "decision", "route", "output"} < set(
        assistant.get_output_jsonschema()["$defs"]["Turn"]["properties"]
    )


class Runs(BaseCallbackHandler):
    """The runs of a trace: their names by id, their parents, and their tags."""

    def __init__(self) -> None:
        self.names = {}
        self.parents = {}
        self.tags = []

    def on_chain_start(self, *_, **run) -> None:
        """A Runnable begins."""
        self._start(run["name"], run)

    def on_tool_start(self, serialized, *_, **run) -> None:
        """A tool begins."""
        self._start(serialized["name"], run)

    def _start(self, name, run) -> None:
        self.names[run["run_id"]] = name
        self.parents[name] = self.names.get(run["parent_run_id"])
        self.tags.append(run["tags"])


@pytest.mark.parametrize("call", ["invoke", "ainvoke", "stream", "astream"])
def test_every_step_of_a_turn_is_a_run_of_its_trace(qwen, tmp_path, call):
    """Deciding, recalling, answering and remembering stand in their order under the turn, with its tags and name."""
    assistant, runs = make(qwen, tmp_path, only="chat"), Runs()

    async def drained(pieces) -> None:
        async for _ in pieces:
            pass

    answer = getattr(assistant, call)(CHINESE, {"callbacks": [runs], "tags": ["t"], "run_name": "talk"}, user="u1")
    if call == "ainvoke":
        asyncio.run(answer)
    elif call == "astream":
        asyncio.run(drained(answer))
    else:
        list(answer) if call == "stream" else answer
    assert list(runs.names.values()) == ["talk", "decide", "recall", "chat", "remember"]
    assert runs.parents == {"talk": None} | dict.fromkeys(("decide", "recall", "chat", "remember"), "talk")
    assert all("t" in tags for tags in runs.tags)


# What is refused, and what is cut


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
    keys = "route probabilities margin state sentiment output recalled prompt model truncated_tokens timings_ms"
    assert list(plain) == keys.split()
    assert list(plain["sentiment"]) == ["label", "polarity", "probability", "intensity"]
    assert plain["sentiment"]["polarity"] == turn.sentiment.polarity
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
    assert [list(each) for each in qwen.histories] == [list(HISTORY), []]
    assert turn.sentiment.probability != pytest.approx(alone.sentiment.probability, abs=1e-6)
    (messages, _), (alone_messages, _) = qwen.replies
    assert messages[1:] == [*HISTORY, Message("user", "它喜欢什么？")]
    assert alone_messages[1:] == [Message("user", "它喜欢什么？")]


@pytest.mark.parametrize("call", ["invoke", "analyze"])
def test_a_history_may_come_as_messages_of_langchain(assistant, qwen, call):
    """Messages, pairs and mappings are turns like our own."""
    history = [HumanMessage("我的猫叫豆子。"), ("ai", "好可爱的名字！"), {"role": "user", "content": "是的"}]
    getattr(assistant, call)("它喜欢什么？", history=history)
    assert list(qwen.histories[0]) == [*HISTORY, Message("user", "是的")]


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
    assert list(next(assistant.stream(CHINESE)).decision.probabilities) == [*ROUTES, "weather", "tags"]
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
        bounds = Threshold(probability=1.0, margin=1.0)
        router = PromptRouter(qwen, routes, runnables=tools, threshold=bounds, fallback=fallback)
        turn = Assistant(qwen, router).invoke(CHINESE)
        assert not turn.decision.accepted
        assert turn.route == turn.output == fallback


def test_a_runnable_that_streams_messages_gives_its_text(qwen):
    """A chat model can stand behind a route."""

    def talk(inputs):
        for _ in inputs:
            yield from (AIMessageChunk("晴"), AIMessageChunk("天"), AIMessageChunk(""))

    assistant = answering(qwen, RunnableGenerator(talk))
    assert [piece.output for piece in assistant.stream(CHINESE)] == [None, "晴", "天", "", None]
    assert assistant.invoke(CHINESE).output == "晴天"


@pytest.mark.parametrize(
    ("pieces", "output"), [([], None), (["好", "的"], "好的"), ([1, "x"], "x"), ([None], None), ([[1], [2]], [2])]
)
def test_the_output_is_what_the_pieces_make_together(qwen, pieces, output):
    """Texts are put together, of other results the last one counts."""

    def give(inputs):
        for _ in inputs:
            yield from pieces

    (whole,) = (answering(qwen, RunnableGenerator(give)) | (lambda turn: turn)).stream(CHINESE)
    assert whole.output == output


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
    turn = assistant.invoke(CHINESE)
    assert analysis.sentiment.label == turn.sentiment.label
    assert analysis.sentiment.probability == pytest.approx(turn.sentiment.probability, abs=1e-5)
    assert analysis.reply == ChatTool(qwen=qwen).invoke({"text": CHINESE, "comfort": turn.sentiment.upset})


def test_an_upset_user_is_comforted_first(qwen):
    """A surely negative mood puts the note behind the text, any other does not."""
    assistant = Assistant.default(qwen)
    found = {}
    for texts in zip(*(examples("mood")[pole][:40] for pole in POLES), strict=True):
        found |= {assistant.analyze(text).sentiment.upset: text for text in texts}
        if len(found) == 2:
            break
    for upset, text in found.items():
        assistant.analyze(text)
        messages, notes = qwen.replies[-1]
        assert messages[-1].content == text
        assert bool(notes) == upset
    assert set(found) == {True, False}, "the texts must cover both"


def test_a_turn_comforts_where_the_mood_is_surely_low(qwen, tmp_path):
    """Only a negative mood that is likely and not faint changes the reply; the turn says what the model was told."""
    assistant = make(qwen, tmp_path, only="chat")
    comforted = set()
    for text in (CHINESE, ENGLISH, *examples("mood")["negative"][:4], *examples("mood")["positive"][:4]):
        turn = assistant.invoke(text)
        mood = turn.sentiment
        low = mood.polarity == "negative" and mood.probability >= 0.6 and mood.intensity >= 2
        assert turn.prompt == ChatTool.context("zh" if mood.label in {"正面", "负面"} else "en", comfort=low)
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
