"""Evaluation: labelled sets, runs over them, and their reports."""

from qwen_allinone.eval.case import Case, evaluate
from qwen_allinone.eval.dataset import LABEL_MAPS, LabelledRow, LabelledSet
from qwen_allinone.eval.fit import FittedQuestion, fit_rows
from qwen_allinone.eval.overlap import Overlap, find_overlaps
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
    "FittedQuestion",
    "LabelledRow",
    "LabelledSet",
    "Overlap",
    "Progress",
    "Sample",
    "evaluate",
    "find_overlaps",
    "fit_rows",
]
