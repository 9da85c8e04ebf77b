"""Accuracy and calibration on what ships: route, mood, intent, yes or no."""

from collections.abc import Callable, Mapping, Sequence

from benchmarks.accuracy import sets
from benchmarks.accuracy.figure import Figure, Floor, Target, accuracy_figure, calibration_figure
from benchmarks.accuracy.linear import LinearClassifier
from benchmarks.accuracy.task import Task, intent_task, mood_task, plain, route_task
from benchmarks.accuracy.training_rows import mood_rows, route_rows, written_sources
from qwen_allinone.eval import LabelledRow, Sample
from qwen_allinone.model import SharedQwen

CHANCE = Floor(1 / 6, "chance, one of six")
INTENT = Target(0.50)


def figures(qwen: SharedQwen) -> list[Figure]:
    """Each set as a whole, by language, by slice, and its calibration."""
    sources = written_sources()
    routes, moods = (LinearClassifier(rows(sources)).floor for rows in (route_rows, mood_rows))
    yes_no = Task("yes or no", tuple(sets.yes_no()), plain(qwen))
    return [
        *_figures(qwen, route_task(qwen), {"route": Target(0.88)}, routes),
        *_figures(qwen, mood_task(qwen), {"mood: zh": Target(0.85), "mood: en": Target(0.80)}, moods),
        *_figures(qwen, intent_task(qwen, sets.intents()), {"intent": INTENT}, lambda _: CHANCE),
        *_figures(qwen, yes_no, {}),
    ]


def _figures(
    qwen: SharedQwen,
    task: Task,
    targets: Mapping[str, Target],
    floor: Callable[[Sequence[LabelledRow]], Floor] | None = None,
) -> list[Figure]:
    """Each slice; its floor, where none is given, is the answer that most of its rows accept."""
    samples = task.samples(qwen)
    parts = {task.name: samples} | {f"{task.name}: {name}": part for name, part in by_slice(samples).items()}
    found = [
        accuracy_figure(what, part, floor=floor and floor([sample.row for sample in part]), target=targets.get(what))
        for what, part in parts.items()
    ]
    return [*found, calibration_figure(task.name, samples)]


def by_slice(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    """The samples of each language, then of each other slice without a colon in its name."""
    names = {name for sample in samples for name in sample.row.slices}
    languages = [name for name in ("language:zh", "language:en") if name in names]
    others = sorted(name for name in names if ":" not in name)
    return {
        name.removeprefix("language:"): [sample for sample in samples if name in sample.row.slices]
        for name in (*languages, *others)
    }
