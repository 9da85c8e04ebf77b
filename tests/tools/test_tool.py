import asyncio
import json

import pytest
from langchain_core.documents import Document
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ValidationError

from qwen_allinone.errors import EmptyTextError
from qwen_allinone.tools import (
    ChatTool,
    Intent,
    IntentTool,
    Keywords,
    KeywordsTool,
    KnowledgeAnswer,
    KnowledgeTool,
    QwenTool,
    Sentiment,
    SentimentTool,
    Summary,
    SummaryTool,
)

TEXT = "打印机又卡纸了，已经是这周第三次。维修的人说下午来。大家只好去楼下打印。"
ENGLISH = "The printer jams every day. Repair is due in the afternoon. We print downstairs."
OUTPUTS = {
    "sentiment": Sentiment,
    "chat": str,
    "intent": Intent,
    "summary": Summary,
    "keywords": Keywords,
    "knowledge": KnowledgeAnswer,
}


@pytest.fixture(params=sorted(OUTPUTS))
def tool(request, extracting) -> QwenTool:
    """Each tool in turn."""
    retriever = RunnableLambda(lambda _: [Document("周三检修打印机。", metadata={"source": "notice.md"})])
    tools: dict[str, QwenTool] = {
        "sentiment": SentimentTool(qwen=extracting),
        "chat": ChatTool(qwen=extracting, max_new_tokens=4),
        "intent": IntentTool(qwen=extracting),
        "summary": SummaryTool(qwen=extracting),
        "keywords": KeywordsTool(qwen=extracting),
        "knowledge": KnowledgeTool(qwen=extracting, retriever=retriever),
    }
    return tools[request.param]


@pytest.mark.parametrize("text", [TEXT, ENGLISH])
def test_a_text_and_a_mapping_give_the_same_typed_output(tool, text):
    """A tool takes the text alone, or under its name in a mapping."""
    output = tool.invoke(text)
    assert isinstance(output, OUTPUTS[tool.name])
    assert tool.invoke({"text": text}) == output
    assert asyncio.run(tool.ainvoke(text)) == output


def test_fields_that_a_tool_does_not_know_are_passed_over(tool):
    """Behind a router all tools get one mapping, each takes its own from it."""
    given = {"text": TEXT, "history": [], "memories": [], "comfort": False, "sentiment": None, "elsewhere": 1}
    assert isinstance(tool.invoke(given), OUTPUTS[tool.name])


def test_a_tool_call_is_answered_by_a_tool_message(tool):
    """Agents get the readable line of the output, under the id of their call."""
    call = {"type": "tool_call", "id": "call-1", "name": tool.name, "args": {"text": TEXT}}
    message = tool.invoke(call)
    assert isinstance(message, ToolMessage)
    assert (message.tool_call_id, message.name, message.status) == ("call-1", tool.name, "success")
    assert message.content == str(tool.invoke(TEXT))


def test_a_tool_describes_itself_to_agents(tool):
    """Name, description and JSON schema are what a function-calling model needs, the model itself is no part of it."""
    described = convert_to_openai_tool(tool)["function"]
    assert described["name"] == tool.name
    assert described["description"].strip()
    parameters = described["parameters"]
    assert parameters["properties"]["text"]["type"] == "string"
    assert parameters["required"] == ["text"]
    assert not {"qwen", "sentiment"} & set(parameters["properties"])
    assert json.dumps(tool.args_schema.model_json_schema())


def test_a_tool_is_a_link_of_a_chain(tool):
    """It composes, and streams at least its whole output."""
    assert isinstance(tool, BaseTool)
    chain = RunnableLambda(str.strip) | tool
    assert chain.invoke(f" {TEXT} ") == tool.invoke(TEXT)
    assert len(tool.batch([TEXT, ENGLISH])) == 2
    assert list(tool.stream(TEXT))


@pytest.mark.parametrize("blank", ["", " \n"])
def test_a_blank_text_is_refused(tool, blank):
    """No tool makes an answer out of nothing."""
    with pytest.raises(EmptyTextError):
        tool.invoke(blank)


@pytest.mark.parametrize("input", [{}, {"text": 3}, {"text": None}])
def test_an_input_without_a_text_is_refused(tool, input):
    """What is missing or no text is named."""
    with pytest.raises(ValidationError, match="text"):
        tool.invoke(input)


def test_a_misspelt_setting_is_refused(extracting):
    """Settings are checked when the tool is made."""
    with pytest.raises(ValidationError, match="max_sentence"):
        SummaryTool(qwen=extracting, max_sentence=1)


def test_results_cannot_be_changed(extracting):
    """An output says what was decided, for good."""
    with pytest.raises(ValidationError):
        SentimentTool(qwen=extracting).invoke(TEXT).label = "正面"
