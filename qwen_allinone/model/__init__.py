"""The one shared Qwen: load, read, decide, generate."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qwen_allinone.model.decisions.decision import Calibration, Decision, Threshold
    from qwen_allinone.model.decisions.lock import DecisionLock
    from qwen_allinone.model.decisions.questions import Choice, Noul, NoulCriteria, Question, Score
    from qwen_allinone.model.engine.base import Features
    from qwen_allinone.model.engine.capabilities import Capabilities
    from qwen_allinone.model.engine.local.engine import LocalEngine
    from qwen_allinone.model.engine.sampling import SamplingParams
    from qwen_allinone.model.engine.stream import Reply, ReplyStream
    from qwen_allinone.model.langchain.chat_model import ChatSharedQwen
    from qwen_allinone.model.langchain.pipeline import QwenPipeline
    from qwen_allinone.model.prompt.messages import Message
    from qwen_allinone.model.qwen import SharedQwen

_HOMES = {
    "Calibration": "decisions.decision",
    "Capabilities": "engine.capabilities",
    "ChatSharedQwen": "langchain.chat_model",
    "Choice": "decisions.questions",
    "Decision": "decisions.decision",
    "DecisionLock": "decisions.lock",
    "Features": "engine.base",
    "LocalEngine": "engine.local.engine",
    "Message": "prompt.messages",
    "Noul": "decisions.questions",
    "NoulCriteria": "decisions.questions",
    "Question": "decisions.questions",
    "QwenPipeline": "langchain.pipeline",
    "Reply": "engine.stream",
    "ReplyStream": "engine.stream",
    "SamplingParams": "engine.sampling",
    "Score": "decisions.questions",
    "SharedQwen": "qwen",
    "Threshold": "decisions.decision",
}

__all__ = [
    "Calibration",
    "Capabilities",
    "ChatSharedQwen",
    "Choice",
    "Decision",
    "DecisionLock",
    "Features",
    "LocalEngine",
    "Message",
    "Noul",
    "NoulCriteria",
    "Question",
    "QwenPipeline",
    "Reply",
    "ReplyStream",
    "SamplingParams",
    "Score",
    "SharedQwen",
    "Threshold",
]


def __getattr__(name: str) -> Any:
    """Import a part, and torch with it where it needs it, only when it is asked for."""
    if name in _HOMES:
        return getattr(import_module(f"qwen_allinone.model.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
