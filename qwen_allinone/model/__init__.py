"""The one shared Qwen: load, read, decide, write."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qwen_allinone.model.calibration import Calibration
    from qwen_allinone.model.capabilities import Capabilities
    from qwen_allinone.model.chat_model import ChatQwen
    from qwen_allinone.model.chatml import Message
    from qwen_allinone.model.decision import Acceptance, Decision
    from qwen_allinone.model.questions import Choice, Noul, NoulCriteria, Question, Score
    from qwen_allinone.model.remote.qwen import RemoteQwen
    from qwen_allinone.model.reply import Reply, ReplyStream
    from qwen_allinone.model.shared import SharedQwen
    from qwen_allinone.model.writing import Writing

_HOMES = {
    "Acceptance": "decision",
    "Calibration": "calibration",
    "Capabilities": "capabilities",
    "ChatQwen": "chat_model",
    "Choice": "questions",
    "Decision": "decision",
    "Message": "chatml",
    "Noul": "questions",
    "NoulCriteria": "questions",
    "Question": "questions",
    "RemoteQwen": "remote.qwen",
    "Reply": "reply",
    "ReplyStream": "reply",
    "Score": "questions",
    "SharedQwen": "shared",
    "Writing": "writing",
}

__all__ = [
    "Acceptance",
    "Calibration",
    "Capabilities",
    "ChatQwen",
    "Choice",
    "Decision",
    "Message",
    "Noul",
    "NoulCriteria",
    "Question",
    "RemoteQwen",
    "Reply",
    "ReplyStream",
    "Score",
    "SharedQwen",
    "Writing",
]


def __getattr__(name: str) -> Any:
    """Import a part, and torch with it where it needs it, only when it is asked for."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"qwen_allinone.model.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
