"""Typed LangChain tools over the one shared Qwen, one per prompt."""

from qwen_allinone.tools.base import QwenTool, TextInput
from qwen_allinone.tools.chat import ChatInput, ChatTool
from qwen_allinone.tools.intent import Intent, IntentInput, IntentTool
from qwen_allinone.tools.keywords import Keyword, Keywords, KeywordsInput, KeywordsTool
from qwen_allinone.tools.knowledge import KnowledgeAnswer, KnowledgeTool
from qwen_allinone.tools.sentiment import Sentiment, SentimentInput, SentimentTool
from qwen_allinone.tools.summary import Summary, SummaryTool

__all__ = [
    "ChatInput",
    "ChatTool",
    "Intent",
    "IntentInput",
    "IntentTool",
    "Keyword",
    "Keywords",
    "KeywordsInput",
    "KeywordsTool",
    "KnowledgeAnswer",
    "KnowledgeTool",
    "QwenTool",
    "Sentiment",
    "SentimentInput",
    "SentimentTool",
    "Summary",
    "SummaryTool",
    "TextInput",
]
