import asyncio
import subprocess
import sys
import time

import pytest
from langchain_core.messages import AIMessage
from tiny_qwen import CONTROL_TOKENS, REPLIES, fresh

from qwen_allinone.errors import EmptyTextError
from qwen_allinone.model import Message
from qwen_allinone.model.engine.capabilities import Capabilities
from qwen_allinone.tools import ChatTool
from qwen_allinone.tools.chat import stripped

TEXT = "今天有点累"
MEMORIES = ["我住在成都", "我养了一只叫豆子的猫"]


@pytest.mark.parametrize("text", REPLIES)
def test_the_reply_is_what_the_model_has_to_say(trained, text):
    """Whole, and without the prompt."""
    tool = ChatTool(qwen=trained, repetition_penalty=1.0)
    assert tool.invoke(text) == REPLIES[text]
    assert "".join(tool.stream(text)) == REPLIES[text]


def test_the_model_declares_what_repetition_costs(trained):
    """Unless the tool is told otherwise."""
    text = next(iter(REPLIES))
    declared = fresh(trained, capabilities=Capabilities(repetition_penalty=1e6))
    replies = [
        ChatTool(qwen=declared),
        ChatTool(qwen=trained, repetition_penalty=1e6),
        ChatTool(qwen=declared, repetition_penalty=1.0),
    ]
    penalised, told, plain = (tool.invoke(text) for tool in replies)
    assert penalised == told != plain


def test_a_reply_is_streamed_piece_by_piece(trained):
    """There is more than one piece, synchronously and asynchronously, and they are the reply."""
    tool = ChatTool(qwen=trained, repetition_penalty=1.0)
    text, reply = next(iter(REPLIES.items()))

    async def collected() -> list[str]:
        return [piece async for piece in tool.astream(text)]

    pieces = list(tool.stream({"text": text}))
    assert len(pieces) > 1
    assert "".join(pieces) == reply
    assert asyncio.run(collected()) == pieces


def test_half_a_character_is_left_out(trained):
    """The bytes of one may come alone, where a reply is cut or the model is small."""
    text, reply = next(iter(REPLIES.items()))
    tokens = len(trained.chat.encode(reply[:3])) + 1
    assert "\ufffd" in trained.generate(text, max_new_tokens=tokens).text
    tool = ChatTool(qwen=trained, repetition_penalty=1.0, max_new_tokens=tokens)
    assert tool.invoke(text) == "".join(tool.stream(text)) == reply[:3]


@pytest.mark.parametrize(
    ("pieces", "reply"),
    [
        ([" ", "\n好", " 的", " ", "\n"], ["好", " 的"]),
        (["a ", " ", "b"], ["a", "  b"]),
        (["好"], ["好"]),
        ([" "], []),
        ([], []),
    ],
)
def test_white_space_around_a_reply_is_no_part_of_it(pieces, reply):
    """A stream gives what the whole reply has, and holds nothing else back."""
    assert list(stripped(pieces)) == reply


def test_a_misspelt_argument_of_a_stream_is_an_error(trained):
    """Nothing that is given is dropped silently."""
    with pytest.raises(TypeError, match="max_tokens"):
        list(ChatTool(qwen=trained).stream(TEXT, max_tokens=3))


def test_leaving_a_stream_early_frees_the_model(extracting):
    """A consumer that has enough does not keep others waiting for the rest."""
    tool = ChatTool(qwen=extracting, max_new_tokens=700)

    async def first() -> str:
        async for piece in tool.astream(TEXT):
            return piece
        return ""

    for begin in (lambda: next(iter(tool.stream(TEXT))), lambda: asyncio.run(first())):
        assert begin()
        start = time.perf_counter()
        assert ChatTool(qwen=extracting, max_new_tokens=1).invoke("好") is not None
        assert time.perf_counter() - start < 1


def test_a_stream_that_is_left_open_does_not_keep_the_process(model_folder):
    """A program that fails in the middle of a reply ends with its own error."""
    program = (
        "from qwen_allinone import ChatTool, SharedQwen\n"
        f"stream = ChatTool(qwen=SharedQwen.load({str(model_folder)!r}), max_new_tokens=800).stream('hello')\n"
        "next(stream)\n"
        "raise KeyError('own')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("KeyError: 'own'")


@pytest.mark.parametrize(("text", "words"), [(TEXT, "安慰"), ("I am tired", "Comfort")])
def test_an_upset_user_is_comforted_first(extracting, text, words):
    """The model is told so behind the text, in the text's language, and only where it was asked for."""
    tool = ChatTool(qwen=extracting, max_new_tokens=1)
    tool.invoke({"text": text, "comfort": True})
    tool.invoke(text)
    (_, soothing), (_, plain) = extracting.replies
    assert words in soothing
    assert plain == ""


@pytest.mark.parametrize("language", ["zh", "en"])
def test_memories_stand_in_the_note_one_per_line(language):
    """Each is there word for word."""
    note = ChatTool.context(language, memories=MEMORIES)
    assert note.splitlines()[1:] == [f"- {memory}" for memory in MEMORIES]
    assert ChatTool.context(language) == ""


def test_comfort_and_memories_come_together():
    """One note holds both."""
    both = ChatTool.context("zh", memories=MEMORIES, comfort=True)
    assert both == f"{ChatTool.context('zh', comfort=True)}\n{ChatTool.context('zh', memories=MEMORIES)}"


def test_a_memory_is_never_looked_into():
    """A dollar sign or control token in it is text."""
    memory = f"我欠 $memories 块 {' '.join(CONTROL_TOKENS)}"
    assert f"- {memory}" in ChatTool.context("zh", memories=[memory])


QUOTED = Capabilities(recall="quoted")


def test_a_model_that_cannot_take_up_a_memory_quotes_it(extracting):
    """The first in which the user speaks of themselves and asks nothing; nothing is generated."""
    quoting = fresh(extracting, capabilities=QUOTED)
    tool = ChatTool(qwen=quoting)
    memories = ["你还记得我叫什么吗", "Do you know my name", "今天下雪", "我住在\n成都。", "我养了一只叫豆子的猫"]
    assert tool.invoke({"text": "我住哪儿？", "memories": memories}) == "我记得你说过：“我住在 成都”。"
    said = "".join(
        tool.stream({"text": "So tired. What do I do", "memories": ["I'm a nurse at $night"], "comfort": True})
    )
    assert said == 'I understand how you feel. I remember that you told me: "I\'m a nurse at $night".'
    with pytest.raises(EmptyTextError):
        tool.invoke({"text": " ", "memories": memories})


@pytest.mark.parametrize(
    ("text", "memories"),
    [
        ("What is the weather like?", []),
        ("What is the weather like?", ["今天下雪"]),
        ("What is the weather like?", ["你还记得我叫什么吗", "what do i like"]),
        ("今天的实验终于成功了！", MEMORIES),
    ],
)
def test_only_what_users_said_of_themselves_answers_and_only_questions(trained, text, memories):
    """The reply is the model's own else, as without the capability."""
    replies = [
        ChatTool(qwen=qwen).invoke({"text": text, "memories": memories})
        for qwen in (trained, fresh(trained, capabilities=QUOTED))
    ]
    assert replies[0] == replies[1]
    assert not any(memory in replies[1] for memory in memories)


def test_a_model_that_writes_well_quotes_nothing(trained):
    """A real Qwen takes up what is remembered in its own words."""
    reply = ChatTool(qwen=trained).invoke({"text": "What is the weather like?", "memories": MEMORIES})
    assert MEMORIES[0] not in reply


def test_notes_never_enter_the_history(extracting):
    """The next turn reads what was said, and nothing that was whispered."""
    tool = ChatTool(qwen=extracting, max_new_tokens=3)
    reply = tool.invoke({"text": TEXT, "memories": MEMORIES, "comfort": True})
    history = [Message("user", TEXT), Message("assistant", reply)]
    tool.invoke({"text": "我叫什么？", "history": history})
    messages, notes = extracting.replies[-1]
    assert messages[1:] == [*history, Message("user", "我叫什么？")]
    assert notes == ""
    assert all("豆子" not in message.content and "安慰" not in message.content for message in messages)


def test_a_note_stands_behind_the_text_that_is_already_read(extracting):
    """A reply with memories reuses the whole reading of the text."""
    extracting.decide(TEXT, {"x": _yes_or_no()})
    before = extracting.local.prefix_cache.statistics
    ChatTool(qwen=extracting, max_new_tokens=1).invoke({"text": TEXT, "memories": MEMORIES})
    after = extracting.local.prefix_cache.statistics
    assert after.entries == before.entries
    messages, _ = extracting.replies[-1]
    assert after.reused_tokens - before.reused_tokens == len(extracting.chat.turns(messages))


def test_history_may_come_as_plain_values(extracting):
    """As an agent, a JSON request or LangChain would give it."""
    history = [{"role": "user", "content": "你好"}, AIMessage("你好呀")]
    ChatTool(qwen=extracting, max_new_tokens=1).invoke({"text": TEXT, "history": history})
    messages, _ = extracting.replies[-1]
    assert messages[1:3] == [Message("user", "你好"), Message("assistant", "你好呀")]


@pytest.mark.parametrize("call", ["invoke", "stream"])
def test_a_blank_text_is_refused(extracting, call):
    """There is nothing to reply to."""
    with pytest.raises(EmptyTextError):
        list(getattr(ChatTool(qwen=extracting), call)({"text": " ", "history": [Message("user", "你好")]}))


def _yes_or_no():
    from qwen_allinone.model import Noul

    return Noul(instructions="?")
