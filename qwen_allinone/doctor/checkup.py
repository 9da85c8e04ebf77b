"""Everything that only a run on the user's own weights can settle, as one JSON object."""

from collections.abc import Callable
from dataclasses import asdict
from time import perf_counter
from typing import TYPE_CHECKING, Any

from qwen_allinone.errors import CapabilityError, InputError

if TYPE_CHECKING:
    from qwen_allinone.doctor.survey import Progress, Survey
    from qwen_allinone.model import SharedQwen


def check(
    model: str, *, rows: int | None = None, device: str = "cpu", progress: "Progress | None" = None
) -> dict[str, Any]:
    """Load a model and check it: template, control tokens, scoring, option order, layouts, precision, corrections.

    ``auto`` is the precision that is the fastest here without deciding otherwise, and why; all else is measured in fp32
    where the model can be had in it. A part that fails is ``{"error": ...}`` in its place; the others still run. The
    model's own chat template is rendered, in the sandbox of transformers: here and nowhere else in this package.

    Args:
        model: ``bundled``, a folder, or a hub id.
        rows: of each shipped labelled set, evenly spaced; all by default.
        device: a torch device.
        progress: called as rows are done.

    Raises:
        CapabilityError: the model is on a server.
        ModelNotFoundError: there is no such model, or it is broken.
        InputError: ``rows`` is below 1.
    """
    _check_rows(rows)
    from qwen_allinone.model import SharedQwen
    from qwen_allinone.model.engine.openai.address import is_url

    if is_url(model):
        raise CapabilityError("a model on a server cannot be checked from here; check it on the machine that has it")
    chosen = SharedQwen.load(model, device=device, precision="auto")
    exact = SharedQwen.load(model, precision="fp32") if chosen.quantization.dtype == "int8" else chosen
    return {"auto": asdict(chosen.quantization), **check_loaded(exact, rows=rows, progress=progress)}


def check_loaded(qwen: "SharedQwen", *, rows: int | None = None, progress: "Progress | None" = None) -> dict[str, Any]:
    """The same for a model that is in memory already, but for what ``precision="auto"`` comes to."""
    _check_rows(rows)
    from qwen_allinone.doctor.survey import Survey, shipped_tasks

    tasks = shipped_tasks(rows)
    results: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    for name, part in _parts(Survey(qwen, tasks, progress)).items():
        start = perf_counter()
        results[name] = _result(part)
        seconds[name] = round(perf_counter() - start, 3)
    data = {
        task.name: {
            "set": task.labelled_set.name,
            "rows": len(task.labelled_set.rows),
            "digest": task.labelled_set.digest,
        }
        for task in tasks
    }
    return {**_about(qwen), "data": data, **results, "seconds": seconds}


def _parts(survey: "Survey") -> dict[str, Callable[[], dict[str, Any]]]:
    from qwen_allinone.doctor.control_tokens import control_tokens
    from qwen_allinone.doctor.packed_scoring import packed_scoring
    from qwen_allinone.doctor.precision import precision
    from qwen_allinone.doctor.survey import corrections, layouts, option_flips
    from qwen_allinone.doctor.template import compare_template

    qwen = survey.qwen
    return {
        "template": lambda: compare_template(qwen.local.tokenizer, qwen.chat),
        "control_tokens": lambda: control_tokens(qwen.chat, qwen.local.tokenizer),
        "packed_scoring": lambda: packed_scoring(qwen),
        "option_flips": lambda: option_flips(survey),
        "layouts": lambda: layouts(survey),
        "precision": lambda: precision(survey),
        "corrections": lambda: corrections(survey),
    }


def _result(part: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return part()
    except Exception as error:  # whatever breaks on somebody's weights must not take the other parts with it
        first = next(iter(str(error).strip().splitlines()), "")
        return {"error": f"{type(error).__name__}: {first}"}


def _about(qwen: "SharedQwen") -> dict[str, Any]:
    from qwen_allinone.doctor.examination import versions

    return {
        "model": qwen.name,
        "architecture": type(qwen.local.model).__name__,
        "parameters": sum(weights.numel() for weights in qwen.local.model.parameters()),
        "device": str(qwen.local.model.device),
        "dtype": str(qwen.local.model.dtype).removeprefix("torch."),
        "capabilities": qwen.capabilities.model_dump(),
        "versions": dict(versions()),
    }


def _check_rows(rows: int | None) -> None:
    if rows is not None and rows < 1:
        raise InputError(f"rows must be at least 1, given {rows}; leave it out for all")
