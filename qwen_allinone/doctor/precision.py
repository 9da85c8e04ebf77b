"""How often int8 weights decide as fp32 ones do."""

from typing import Any

import torch

from qwen_allinone.doctor.survey import Survey, Task, accuracy_json, proportion_json
from qwen_allinone.errors import CapabilityError
from qwen_allinone.eval.metrics import Proportion
from qwen_allinone.model import SharedQwen, int8
from qwen_allinone.model.weights.precision import CLEAR_MARGIN


def precision(survey: Survey) -> dict[str, Any]:
    """Decide the sets again with an int8 copy of the model, and compare option by option.

    Per task: agreement over all rows and over those whose fp32 margin exceeds ``CLEAR_MARGIN``; under ``int8`` the
    copy's accuracy.
    """
    try:
        copy = int8_copy(survey.qwen)
    except CapabilityError as error:
        return {"available": False, "reason": str(error)}
    other = Survey(copy, survey.tasks, survey.progress)
    compared = {task.name: agreement(survey, other, task) for task in survey.tasks}
    return {"available": True, "margin": CLEAR_MARGIN, "layers": "all linear layers int8", **compared}


def int8_copy(qwen: SharedQwen) -> SharedQwen:
    """A copy whose linear layers have int8 weights; it needs a quarter of their memory on top of the original's.

    Raises:
        CapabilityError: the model is not in fp32 on the CPU, or this torch has no int8 operators for it.
    """
    dtype, device = qwen.local.model.dtype, qwen.local.model.device
    if dtype != torch.float32 or device.type != "cpu":
        raise CapabilityError(f"int8 is compared with fp32 on the CPU; this model is in {dtype} on {device}")
    if not int8.available():
        raise CapabilityError(f"torch {torch.__version__} has no int8 operators for this CPU; try another torch")
    copy = int8.quantized(qwen.local.model)
    return SharedQwen.from_model(copy, qwen.local.tokenizer, name=f"{qwen.name} (int8)", capabilities=qwen.capabilities)


def agreement(exact: Survey, rounded: Survey, task: Task) -> dict[str, Any]:
    """How often two surveys decide the same, over all rows and over those where the first is clear."""
    pairs = [
        (one.decision, other.decision)
        for one, other in zip(exact.report(task).samples, rounded.report(task).samples, strict=True)
        if one.decision is not None and other.decision is not None
    ]
    same = [one.option == other.option for one, other in pairs]
    clear = [agrees for agrees, (one, _) in zip(same, pairs, strict=True) if (one.margin or 0.0) > CLEAR_MARGIN]
    return {
        "all": proportion_json(Proportion(sum(same), len(same))),
        "clear": proportion_json(Proportion(sum(clear), len(clear))),
        "int8": accuracy_json(rounded.report(task)),
    }
