"""The command ``doctor --check``: diagnostics of a model on the built-in sets."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from qwen_allinone.cli.packages import versions
from qwen_allinone.errors import CapabilityError
from qwen_allinone.model.engine.openai.address import is_url
from qwen_allinone.model.prompt.language import language_of

if TYPE_CHECKING:
    from qwen_allinone.eval import Case, LabelledRow
    from qwen_allinone.eval.diagnostics import StepProgress, Task


def check_model(name: str, *, rows: int | None = None, progress: "StepProgress | None" = None) -> dict[str, Any]:
    """Load a model, ask it the product's own questions, and return all diagnostics.

    ``auto`` is the dtype that is the fastest here without deciding otherwise, and why; all else is measured in fp32
    where the model can be had in it.

    Args:
        name: ``bundled``, a folder, or a hub id.
        rows: number of rows of each built-in set, evenly spaced; all by default.
        progress: called as rows are done.

    Raises:
        CapabilityError: the model is on a server.
        ModelNotFoundError: there is no such model, or it is broken.
        InputError: ``rows`` is below 1.
    """
    from qwen_allinone.eval.diagnostics import diagnose
    from qwen_allinone.model import SharedQwen

    if is_url(name):
        raise CapabilityError(
            f"{name} is on a server and cannot be checked from here; check it on the machine that has it"
        )
    qwen = SharedQwen.load(name, precision="auto")
    auto = qwen.quantization
    if auto is not None and auto.dtype == "int8":
        qwen = SharedQwen.load(name, precision="fp32")
    diagnosis = diagnose(qwen, builtin_tasks(), rows=rows, progress=progress)
    return {"auto": auto and asdict(auto), "versions": dict(versions()), **diagnosis.to_json()}


def builtin_tasks() -> "tuple[Task, Task]":
    """Return the mood of the built-in sentiment set and the route of the built-in routes set."""
    from qwen_allinone.eval import Case, LabelledSet
    from qwen_allinone.eval.diagnostics import Task
    from qwen_allinone.router import builtin_routes, route_question

    routes = builtin_routes()
    moods = [_mood_case(row) for row in LabelledSet.builtin("sentiment").rows]
    routed = [Case(row, route_question(routes, language_of(row.text))) for row in LabelledSet.builtin("routes").rows]
    return Task("mood", "sentiment", tuple(moods)), Task("route", "routes", tuple(routed))


def _mood_case(row: "LabelledRow") -> "Case":
    """Return the mood question in the language of the text; its first option is the positive one."""
    from qwen_allinone.eval import Case
    from qwen_allinone.tools.sentiment import mood_question

    question = mood_question(language_of(row.text))
    return Case(row, question, dict(zip(question.criteria, ("positive", "negative"), strict=True)))
