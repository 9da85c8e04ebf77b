"""How good it is: labelled sets, runs over them, and what they say."""

from qwen_allinone.eval.case import Case, evaluate
from qwen_allinone.eval.labelled_set import LABEL_MAPS, LabelledRow, LabelledSet
from qwen_allinone.eval.overlap import Overlap, overlapping
from qwen_allinone.eval.report import EvalReport
from qwen_allinone.eval.run import Decide, DecideAll, EvalRun, Progress
from qwen_allinone.eval.sample import Sample

__all__ = [
    "LABEL_MAPS",
    "Case",
    "Decide",
    "DecideAll",
    "EvalReport",
    "EvalRun",
    "LabelledRow",
    "LabelledSet",
    "Overlap",
    "Progress",
    "Sample",
    "evaluate",
    "overlapping",
]
