"""One small Qwen model, held once in memory, does everything."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qwen_allinone.assistant import Assistant, Turn
    from qwen_allinone.errors import QwenAllInOneError
    from qwen_allinone.eval import EvalRun, LabelledSet
    from qwen_allinone.memory import KnowledgeBase, LongTermMemory, load_embedder
    from qwen_allinone.model import ChatSharedQwen, Choice, Decision, Noul, Score, SharedQwen, Threshold
    from qwen_allinone.router import PromptRouter, Route, RouteResult
    from qwen_allinone.tools import ChatTool, IntentTool, KeywordsTool, KnowledgeTool, SentimentTool, SummaryTool

__version__ = "0.1.0"

_HOMES = {
    "Assistant": "assistant",
    "ChatSharedQwen": "model",
    "ChatTool": "tools",
    "Choice": "model",
    "Decision": "model",
    "EvalRun": "eval",
    "IntentTool": "tools",
    "KeywordsTool": "tools",
    "KnowledgeBase": "memory",
    "KnowledgeTool": "tools",
    "LabelledSet": "eval",
    "LongTermMemory": "memory",
    "Noul": "model",
    "PromptRouter": "router",
    "QwenAllInOneError": "errors",
    "Route": "router",
    "RouteResult": "router",
    "Score": "model",
    "SentimentTool": "tools",
    "SharedQwen": "model",
    "SummaryTool": "tools",
    "Threshold": "model",
    "Turn": "assistant",
    "load_embedder": "memory",
}

__all__ = [
    "Assistant",
    "ChatSharedQwen",
    "ChatTool",
    "Choice",
    "Decision",
    "EvalRun",
    "IntentTool",
    "KeywordsTool",
    "KnowledgeBase",
    "KnowledgeTool",
    "LabelledSet",
    "LongTermMemory",
    "Noul",
    "PromptRouter",
    "QwenAllInOneError",
    "Route",
    "RouteResult",
    "Score",
    "SentimentTool",
    "SharedQwen",
    "SummaryTool",
    "Threshold",
    "Turn",
    "__version__",
    "load_embedder",
]


def __getattr__(name: str) -> Any:
    """Import a part, and torch with it where it needs it, only when it is asked for."""
    if name in _HOMES:
        return getattr(import_module(f"qwen_allinone.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
