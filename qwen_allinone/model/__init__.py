"""The one shared Qwen: load, read, decide, write."""

from qwen_allinone.model.capabilities import Capabilities
from qwen_allinone.model.chat_model import ChatQwen
from qwen_allinone.model.chatml import Message
from qwen_allinone.model.decision import Acceptance, Decision
from qwen_allinone.model.questions import Choice, Noul, NoulCriteria, Question, Score
from qwen_allinone.model.shared import Calibration, SharedQwen
from qwen_allinone.model.writer import Reply, ReplyStream, Writing

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
    "Reply",
    "ReplyStream",
    "Score",
    "SharedQwen",
    "Writing",
]
