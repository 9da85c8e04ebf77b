"""Diagnosis of a model: every check that only a run on one's own weights can settle."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self

from qwen_allinone.errors import InputError
from qwen_allinone.eval.diagnostics.comparison import Comparison, compare_corrections, compare_layouts
from qwen_allinone.eval.diagnostics.control_tokens import ControlTokens, check_control_tokens
from qwen_allinone.eval.diagnostics.evaluations import Evaluations
from qwen_allinone.eval.diagnostics.int8_agreement import Int8Agreement, compare_int8
from qwen_allinone.eval.diagnostics.option_flips import OptionFlips, count_option_flips
from qwen_allinone.eval.diagnostics.packed_scoring import PackedScoring, check_packed_scoring
from qwen_allinone.eval.diagnostics.task import StepProgress, Task
from qwen_allinone.eval.diagnostics.template import TemplateComparison, compare_template

if TYPE_CHECKING:
    from qwen_allinone.model import Capabilities, SharedQwen


@dataclass(frozen=True)
class FailedCheck:
    """Error in the place of a check's result."""

    error: str

    def to_json(self) -> dict[str, Any]:
        """Return the error."""
        return {"error": self.error}


@dataclass(frozen=True)
class ModelSummary:
    """The model that was checked."""

    name: str
    architecture: str
    parameters: int
    device: str
    dtype: str
    """Type that it computes in, such as ``float32``."""
    capabilities: "Capabilities"

    @classmethod
    def from_qwen(cls, qwen: "SharedQwen") -> Self:
        """Summarise a model in memory."""
        model = qwen.local.model
        parameters = sum(weights.numel() for weights in model.parameters())
        dtype = str(model.dtype).removeprefix("torch.")
        return cls(qwen.name, type(model).__name__, parameters, str(model.device), dtype, qwen.capabilities)

    def to_json(self) -> dict[str, Any]:
        """Return the summary."""
        return {
            "model": self.name,
            "architecture": self.architecture,
            "parameters": self.parameters,
            "device": self.device,
            "dtype": self.dtype,
            "capabilities": self.capabilities.model_dump(),
        }


@dataclass(frozen=True)
class Diagnosis:
    """Results of all checks of one model; a check that failed has its error in its place."""

    model: ModelSummary
    tasks: tuple[Task, ...]
    template: TemplateComparison | FailedCheck
    control_tokens: ControlTokens | FailedCheck
    packed_scoring: PackedScoring | FailedCheck
    option_flips: OptionFlips | FailedCheck
    layouts: Comparison | FailedCheck
    int8: Int8Agreement | FailedCheck
    corrections: Comparison | FailedCheck
    seconds: Mapping[str, float]
    """Check to wall-clock time; a check takes over what an earlier one has decided."""

    def to_json(self) -> dict[str, Any]:
        """Return everything but the decisions, in JSON types; figures of nothing are None."""
        data = {task.name: task.to_json() for task in self.tasks}
        checks = {name: getattr(self, name).to_json() for name in self.seconds}
        return {**self.model.to_json(), "data": data, **checks, "seconds": dict(self.seconds)}


def diagnose(
    qwen: "SharedQwen", tasks: Sequence[Task], *, rows: int | None = None, progress: StepProgress | None = None
) -> Diagnosis:
    """Check a model: template, control tokens, packed scoring, option order, layouts, int8, corrections.

    The chat template of the model is rendered, in the sandbox of transformers: here and nowhere else in this package.

    Args:
        qwen: in memory, best in fp32 on the CPU, where int8 can be compared as well.
        tasks: at least one, each with a name of its own.
        rows: number of cases of each task, evenly spaced; all by default.
        progress: called as rows are done.

    Raises:
        NotLocalError: the model is on a server.
        InputError: ``rows`` is below 1, there are no tasks, or two with the same name.
    """
    local, chat = qwen.local, qwen.chat
    tasks = tuple(task.spaced(rows) for task in _checked(tasks, rows))
    evaluations = Evaluations(qwen, progress)
    checks: dict[str, Callable[[], Any]] = {
        "template": partial(compare_template, local.tokenizer, chat),
        "control_tokens": partial(check_control_tokens, chat, local.tokenizer),
        "packed_scoring": partial(check_packed_scoring, qwen, tasks),
        "option_flips": partial(count_option_flips, evaluations, tasks),
        "layouts": partial(compare_layouts, evaluations, tasks),
        "int8": partial(compare_int8, evaluations, tasks),
        "corrections": partial(compare_corrections, evaluations, tasks),
    }
    results: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    for name, check in checks.items():
        start = perf_counter()
        results[name] = _attempt(check)
        seconds[name] = round(perf_counter() - start, 3)
    return Diagnosis(ModelSummary.from_qwen(qwen), tasks, **results, seconds=seconds)


def _attempt(check: Callable[[], Any]) -> Any:
    try:
        return check()
    except Exception as error:  # whatever breaks on somebody's weights must not take the other checks with it
        lines = str(error).strip().splitlines()
        return FailedCheck(f"{type(error).__name__}: {lines[0] if lines else ''}")


def _checked(tasks: Sequence[Task], rows: int | None) -> Sequence[Task]:
    if rows is not None and rows < 1:
        raise InputError(f"rows must be at least 1, given {rows}; leave it out for all")
    names = [task.name for task in tasks]
    if not names or len(set(names)) < len(names):
        raise InputError(f"a diagnosis needs tasks with different names, given {names}; name at least one")
    return tasks
