"""Routes that a user adds to the default ones."""

from benchmarks.accuracy import sets
from benchmarks.accuracy.figure import Figure, Floor, accuracy_figure
from benchmarks.accuracy.shipped import by_slice
from benchmarks.accuracy.task import Exercise, Task, plain
from qwen_allinone.eval import LabelledSet
from qwen_allinone.eval.metrics import Proportion, scored
from qwen_allinone.model import SharedQwen
from qwen_allinone.router import Route, shipped_routes


def figures(qwen: SharedQwen) -> list[Figure]:
    """All user routes at once, each alone, and what they take from the default ones."""
    routes = {name: Route(name, words, runnable="chat") for name, words in sets.content("custom_routes").items()}
    rows = [sets.labelled(fields, number) for number, fields in enumerate(sets.records("custom_routes"), start=1)]
    every = list(routes.values())
    among_all = Task("all", tuple(Exercise.route(row, every) for row in rows), plain(qwen)).samples(qwen)
    alone = Task("alone", tuple(Exercise.route(row, [routes[row.labels[0]]]) for row in rows), plain(qwen))
    parts = {"": among_all} | {f": {name}": part for name, part in by_slice(among_all).items()}
    return [
        *(
            accuracy_figure(f"user route, eight of them beside the four{name}", part, floor=_chance(len(every)))
            for name, part in parts.items()
        ),
        accuracy_figure("user route, its own alone beside the four", alone.samples(qwen), floor=_chance(1)),
        _taken(qwen, every),
    ]


def _taken(qwen: SharedQwen, routes: list[Route]) -> Figure:
    """How many inputs of the default routes go to a user's route once there are some."""
    rows = LabelledSet.builtin("routes").rows
    samples = scored(Task("taken", tuple(Exercise.route(row, routes) for row in rows), plain(qwen)).samples(qwen))
    names = {route.name for route in routes}
    share = Proportion(sum(sample.predicted in names for sample in samples), len(samples))
    return Figure.of("default input that one of eight user routes takes away", share)


def _chance(added: int) -> Floor:
    options = len(shipped_routes()) + added
    return Floor(1 / options, f"chance, one of {options}")
