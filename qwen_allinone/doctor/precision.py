"""How often int8 weights decide as fp32 ones do."""

import warnings
from typing import TYPE_CHECKING, Any

from qwen_allinone.doctor.survey import Survey, Task, accuracy_json, proportion_json
from qwen_allinone.errors import CapabilityError
from qwen_allinone.eval.metrics import Proportion
from qwen_allinone.model import SharedQwen

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MARGIN = 0.05
"""Below this margin a decision is a toss-up, which rounding may turn over."""

_OUTPUT = "lm_head"
_REMOVAL_NOTICES = {
    DeprecationWarning: r"torch\.ao\.quantization is deprecated",
    UserWarning: r"torch\.quantize_per_tensor.* are deprecated",
}


def precision(survey: Survey) -> dict[str, Any]:
    """Decide the sets again with an int8 copy of the model, and compare option by option.

    Per task: agreement over all rows and over those whose fp32 margin exceeds ``MARGIN``; under ``int8`` the copy's
    accuracy.
    """
    try:
        copy = int8_copy(survey.qwen)
    except CapabilityError as error:
        return {"available": False, "reason": str(error)}
    other = Survey(copy, survey.tasks, survey.progress)
    compared = {task.name: agreement(survey, other, task) for task in survey.tasks}
    return {
        "available": True,
        "margin": MARGIN,
        "layers": _OUTPUT + " in fp32, all other linear layers int8",
        **compared,
    }


def int8_copy(qwen: SharedQwen) -> SharedQwen:
    """A copy whose linear layers, but for the output, have int8 weights and quantise their inputs as they come.

    The copy needs a quarter of the layers' memory on top of the original's; for a moment, all of it once more.

    Raises:
        CapabilityError: the model is not in fp32 on the CPU, or this torch has no dynamic quantisation.
    """
    import torch

    model = qwen.model
    if model.device.type != "cpu" or model.dtype != torch.float32:
        raise CapabilityError(f"int8 needs an fp32 model on the CPU; this one is {model.dtype} on {model.device}")
    try:
        quantised = _quantised(model)
    except (ImportError, AttributeError, RuntimeError) as error:
        first = next(iter(str(error).splitlines()), "")
        raise CapabilityError(f"torch {torch.__version__} cannot quantise here: {first}; try another torch") from error
    return SharedQwen(quantised, qwen.tokenizer, name=f"{qwen.name} (int8)", capabilities=qwen.capabilities)


def _quantised(model: "PreTrainedModel") -> "PreTrainedModel":
    import torch

    layers = {
        name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear) and not name.endswith(_OUTPUT)
    }
    with warnings.catch_warnings():
        for category, message in _REMOVAL_NOTICES.items():
            warnings.filterwarnings("ignore", message=message, category=category)
        return torch.ao.quantization.quantize_dynamic(model, layers, dtype=torch.qint8)  # type: ignore[no-untyped-call,no-any-return]


def agreement(fp32: Survey, int8: Survey, task: Task) -> dict[str, Any]:
    """How often two surveys decide the same, over all rows and over those where the first is clear."""
    pairs = [
        (one.decision, other.decision)
        for one, other in zip(fp32.report(task).samples, int8.report(task).samples, strict=True)
        if one.decision is not None and other.decision is not None
    ]
    same = [one.option == other.option for one, other in pairs]
    clear = [agrees for agrees, (one, _) in zip(same, pairs, strict=True) if (one.margin or 0.0) > MARGIN]
    return {
        "all": proportion_json(Proportion(sum(same), len(same))),
        "clear": proportion_json(Proportion(sum(clear), len(clear))),
        "int8": accuracy_json(int8.report(task)),
    }
