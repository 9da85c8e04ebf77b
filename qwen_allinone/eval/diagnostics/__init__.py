"""Diagnostics of a model: everything that only a run on one's own weights can settle."""

from qwen_allinone.eval.diagnostics.comparison import Comparison
from qwen_allinone.eval.diagnostics.control_tokens import ControlTokens, Leak
from qwen_allinone.eval.diagnostics.diagnosis import Diagnosis, FailedCheck, ModelSummary, diagnose
from qwen_allinone.eval.diagnostics.int8_agreement import Agreement, Int8Agreement
from qwen_allinone.eval.diagnostics.option_flips import OptionFlips, TaskFlips
from qwen_allinone.eval.diagnostics.packed_scoring import PackedScoring, ScoredTwice
from qwen_allinone.eval.diagnostics.task import StepProgress, Task
from qwen_allinone.eval.diagnostics.template import RenderedConversation, TemplateComparison, TokenDifference

__all__ = [
    "Agreement",
    "Comparison",
    "ControlTokens",
    "Diagnosis",
    "FailedCheck",
    "Int8Agreement",
    "Leak",
    "ModelSummary",
    "OptionFlips",
    "PackedScoring",
    "RenderedConversation",
    "ScoredTwice",
    "StepProgress",
    "Task",
    "TaskFlips",
    "TemplateComparison",
    "TokenDifference",
    "diagnose",
]
