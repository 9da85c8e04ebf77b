import re
from typing import Any

import pytest

from qwen_allinone.errors import EmptyTextError
from qwen_allinone.model import Capabilities, Reply, SharedQwen
from qwen_allinone.tools import SummaryTool
from qwen_allinone.tools.passages import split_for_reading
from qwen_allinone.tools.sentences import split_sentences

CHINESE = (
    "市图书馆下周一起延长开放时间。新的闭馆时间是晚上十点。读者可以在三楼自习，也可以预约小组讨论室。"
    "周末仍然是九点开门！儿童阅览室不受影响。"
)
ENGLISH = (
    "The city library extends its opening hours from Monday. It will close at ten, e.g. after the last bus. "
    "Rooms cost 3.5 dollars. Weekends stay as they are! The children's room is not affected."
)
LONG = {
    "zh": "".join(
        f"第{number}天，我们走了{number * 3 % 17}公里，天气{'晴' if number % 2 else '阴'}。" for number in range(330)
    ),
    "en": " ".join(f"On day {number} we walked {number * 3 % 17} miles in the rain." for number in range(130)),
    "lines": "\n".join(f"第{number}项完成了{number * 7 % 13}个任务" for number in range(160)),
    "one breath": "一直走" * 600,
}
"""Between 1,700 and 5,200 characters."""
PARTS = {"zh": r"(?<=。)", "en": r"(?<=\.) ", "lines": " ", "one breath": " "}
"""Where their summaries are joined."""


class SilentQwen(SharedQwen):
    """A model with nothing to say."""

    def generate(self, *_: Any, **__: Any) -> Reply:
        """An empty reply."""
        return Reply("", "stop", prompt_tokens=1, completion_tokens=0)


def in_order(sentences, text) -> bool:
    """Whether the sentences stand in the text, one behind the other."""
    end = 0
    for sentence in sentences:
        start = text.find(sentence, end)
        if start < 0:
            return False
        end = start + len(sentence)
    return True


@pytest.mark.parametrize("text", [CHINESE, ENGLISH])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_an_extract_is_made_of_the_texts_own_sentences(extracting, text, count):
    """As many as wanted, word for word, in their order."""
    summary = SummaryTool(qwen=extracting, max_sentences=count).invoke(text)
    sentences = split_sentences(summary.text)
    assert summary.method == "extractive"
    assert len(sentences) == count
    assert set(sentences) <= set(split_sentences(text))
    assert in_order(sentences, text)
    assert str(summary) == summary.text


@pytest.mark.parametrize("text", [CHINESE, ENGLISH])
def test_a_model_that_cannot_weigh_sentences_gives_the_first(qwen, text):
    """As many as wanted, word for word; the model is not asked."""
    leading = SharedQwen.from_model(
        qwen.local.model, qwen.local.tokenizer, capabilities=Capabilities(summary="leading")
    )
    summary = SummaryTool(qwen=leading, max_sentences=2).invoke(text)
    assert summary.method == "leading"
    assert split_sentences(summary.text) == split_sentences(text)[:2]
    assert leading.local.prefix_cache.statistics.entries == 0


@pytest.mark.parametrize("kind", LONG)
def test_a_long_text_is_shortened_in_steps(extracting, kind):
    """What is left are two sentences of the text, and the model never reads more at once than it can."""
    text = LONG[kind]
    summary = SummaryTool(qwen=extracting).invoke(text).text
    parts = [part for part in re.split(PARTS[kind], summary) if part]
    assert len(parts) == 2
    assert in_order(parts, text)
    assert len(summary) < len(text) / 10
    limit = extracting.capabilities.max_input_tokens
    assert all(len(extracting.chat.encode(read)) <= limit for read in extracting.read)


@pytest.mark.parametrize("text", ["只有一句话。", "没有句号", "Just one sentence", "！！！"])
def test_a_single_sentence_is_its_own_gist(extracting, text):
    """Nothing is asked about it."""
    assert SummaryTool(qwen=extracting).invoke(text).text == text
    assert extracting.read == []


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ("概括一下：", CHINESE),
        ("帮我总结下面这段话:\n", CHINESE),
        ("Please summarize this: ", ENGLISH),
        ("tl;dr:", ENGLISH),
    ],
)
def test_the_request_before_the_text_is_no_part_of_it(extracting, request_, text):
    """The summary is that of the text alone."""
    assert SummaryTool(qwen=extracting).invoke(request_ + text) == SummaryTool(qwen=extracting).invoke(text)


@pytest.mark.parametrize(
    "text", ["12:30 的车晚点了", "http://example.org is down", "https://example.org", ":) fine", "概括一下："]
)
def test_colons_within_a_text_begin_no_request(extracting, text):
    """Times, addresses and faces stay whole."""
    assert SummaryTool(qwen=extracting).invoke(text).text == text


def test_sentences_are_joined_as_their_language_is_written(extracting):
    """With a space where the marks bring none of their own."""
    tool = SummaryTool(qwen=extracting, max_sentences=9)
    assert tool.invoke("好的。\n走吧！ Fine.\nGo on").text == "好的。走吧！Fine. Go on"


def test_a_model_that_writes_well_writes_the_summary(writing):
    """The text is read once, the request to summarise stands behind it."""
    summary = SummaryTool(qwen=writing, max_new_tokens=5).invoke(f"概括一下：{CHINESE}")
    assert summary.method == "written"
    assert summary.text
    ((messages, notes),) = writing.replies
    assert messages[-1].content == CHINESE
    assert "概括" in notes


def test_a_long_text_is_written_in_steps(writing):
    """Its pieces are summarised, then their summaries; no piece exceeds half of the window."""
    text = LONG["en"] * 2
    summary = SummaryTool(qwen=writing, max_new_tokens=8).invoke(text)
    assert summary.method == "written"
    assert len(summary.text) < len(text) / 10
    read = [messages[-1].content for messages, _ in writing.replies]
    assert len(read) > 3
    assert "".join("".join(read).split()).startswith("".join(text.split()))
    assert all(len(writing.chat.encode(piece)) <= writing.context_window // 2 for piece in read)


def test_a_model_that_writes_nothing_leaves_the_texts_own_sentences(trained):
    """An empty reply is no summary."""
    silent = SilentQwen.from_model(
        trained.local.model, trained.local.tokenizer, capabilities=Capabilities(summary="written")
    )
    for text in (CHINESE, LONG["en"]):
        summary = SummaryTool(qwen=silent).invoke(text)
        assert summary.method == "extractive"
        assert summary.text


def test_a_request_without_a_text_is_refused(extracting):
    """Blank texts have no gist."""
    with pytest.raises(EmptyTextError):
        SummaryTool(qwen=extracting).invoke("  \n")


@pytest.mark.parametrize("kind", LONG)
def test_pieces_for_reading_hold_all_of_the_text(extracting, kind):
    """Nothing but white space is lost between them, and each can be read at once."""
    pieces = split_for_reading(extracting, LONG[kind])
    assert "".join("".join(pieces).split()) == "".join(LONG[kind].split())
    assert len(pieces) > 1
    assert max(len(extracting.chat.encode(piece)) for piece in pieces) <= 128


def test_a_short_text_is_one_piece(extracting):
    """It is left as it is."""
    assert split_for_reading(extracting, "好的。\n 走吧") == ["好的。\n 走吧"]


def test_the_bundled_model_shortens_both_languages(bundled_qwen):
    """Two sentences of five remain."""
    for text in (CHINESE, ENGLISH):
        assert len(split_sentences(SummaryTool(qwen=bundled_qwen).invoke(text).text)) == 2
