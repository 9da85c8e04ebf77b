"""Accuracy and calibration of decisions: the product's own evaluation over every declared set."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from benchmarks.accuracy.cases import content, labelled_row, public_cases, records, route_case, written_cases
from benchmarks.accuracy.figure import Figure, Floor, Target, accuracy_figure, calibration_figure
from benchmarks.accuracy.ngrams import Learned, floor
from benchmarks.accuracy.sets import PUBLIC, WRITTEN, FloorKind, PublicGroup
from qwen_allinone.eval import Case, EvalReport, LabelledSet, Sample, evaluate
from qwen_allinone.eval.metrics import Proportion, scored
from qwen_allinone.eval.ngrams import NgramClassifier
from qwen_allinone.model import Calibration, SharedQwen
from qwen_allinone.router import Route, builtin_routes
from qwen_allinone.tools import IntentTool


def written_figures(qwen: SharedQwen, learned: Learned) -> list[Figure]:
    """Return each written set as a whole, by language, by slice, and its calibration."""
    found: list[Figure] = []
    ngrams = learned.classifiers(written=True)
    for each in WRITTEN:
        report = report_of(each.task, written_cases(each.task), qwen)
        for what, samples in {each.task: report.samples, **by_slice(each.task, report)}.items():
            own = _floor(each.floor, each.task, samples, ngrams)
            found.append(accuracy_figure(what, samples, floor=own, target=each.targets.get(what)))
        found.append(calibration_figure(each.task, report.samples))
    return found


def route_figures(qwen: SharedQwen) -> list[Figure]:
    """Return the accuracy of all user routes at once, of each alone, and their share of the default inputs."""
    routes = {name: Route(name, words, runnable="chat") for name, words in content("custom_routes").items()}
    rows = [labelled_row(fields) for fields in records("custom_routes")]
    every = list(routes.values())
    what = "user route, eight of them beside the four"
    beside = report_of("route", [route_case(row, every) for row in rows], qwen)
    alone = report_of("route", [route_case(row, [routes[row.labels[0]]]) for row in rows], qwen)
    default = report_of("route", [route_case(row, every) for row in LabelledSet.builtin("routes").rows], qwen)
    judged = scored(default.samples)
    taken = Proportion(sum(sample.predicted in routes for sample in judged), len(judged))
    return [
        *(
            accuracy_figure(name, samples, floor=_chance(len(every)))
            for name, samples in {what: beside.samples, **by_slice(what, beside)}.items()
        ),
        accuracy_figure("user route, its own alone beside the four", alone.samples, floor=_chance(1)),
        Figure.from_share("default input that one of eight user routes takes away", taken),
    ]


def public_figures(qwen: SharedQwen, data: Path, learned: Learned) -> list[Figure]:
    """Return each public set that took no part in the training, and the sum of each group."""
    found: list[Figure] = []
    ngrams, texts = learned.classifiers(written=False), learned.texts
    for group in PUBLIC:
        cases = public_cases(group, data, texts)
        samples = {what: report_of(group.task, some, qwen).samples for what, some in cases.items()}
        targets = {f"{group.title}: {each.name}": each.target for each in group.sets}
        if group.summed:
            samples[f"{group.title}: all"] = tuple(chain.from_iterable(samples.values()))
        for what, some in samples.items():
            own = _floor(group.floor, group.task, some, ngrams)
            target = targets.get(what) or _target(group, own)
            found.append(accuracy_figure(what, some, floor=own, target=target))
    return found


def report_of(task: str, cases: Sequence[Case], qwen: SharedQwen) -> EvalReport:
    """Ask with the corrections of the toolkit itself."""
    return evaluate(task, cases, qwen, calibration=corrections(task, qwen))


def corrections(task: str, qwen: SharedQwen) -> Calibration:
    """Return the calibration with which the toolkit asks this."""
    return IntentTool(qwen=qwen).corrections if task == "intent" else qwen.calibration


def by_slice(what: str, report: EvalReport) -> dict[str, list[Sample]]:
    """Return the samples of each language, Chinese first, then of each other slice without a colon in its name."""
    found = {}
    for each in sorted(report.slices, key=lambda each: each.name != "language:zh"):
        name = each.name.removeprefix("language:")
        if ":" not in name:
            found[f"{what}: {name}"] = [sample for sample in report.samples if each.name in sample.row.slices]
    return found


def _floor(
    kind: FloorKind, task: str, samples: Sequence[Sample], ngrams: Mapping[str, NgramClassifier]
) -> Floor | None:
    return floor(ngrams[task], [sample.row for sample in samples]) if kind == "n-grams" else kind


def _target(group: PublicGroup, floor: Floor | None) -> Target | None:
    if group.target is None or floor is None or not group.beats_floor:
        return group.target
    return Target(max(group.target.bound, floor.value))


def _chance(added: int) -> Floor:
    options = len(builtin_routes()) + added
    return Floor(1 / options, f"chance, one of {options}")
