"""Answers that change though nothing that matters did: the order of the options, the wording of the question."""

from collections.abc import Iterator, Sequence

from benchmarks.accuracy import sets
from benchmarks.accuracy.figure import Figure, Target
from benchmarks.accuracy.task import Task, as_given, drawn, intent_task, mood_task, route_task
from qwen_allinone.eval.metrics import Proportion
from qwen_allinone.model import Calibration, Choice, SharedQwen
from qwen_allinone.model.language import language_of

_ORDER, _WORDING = Target(0.02, "at most"), Target(0.05, "at most")
_MOST = 120
"""Rows of each task; every one is asked some twenty times."""


def figures(qwen: SharedQwen) -> list[Figure]:
    """By option order, as the toolkit asks and with the order as given; then by wording."""
    tasks = (route_task(qwen), mood_task(qwen), intent_task(qwen, sets.intents()))
    return [
        *(order_figure(qwen, task, task.calibration, "another option order", _ORDER) for task in tasks),
        *(order_figure(qwen, task, as_given(task.calibration), "another order, unsorted", None) for task in tasks),
        *(wording_figure(qwen, task) for task in tasks),
    ]


def order_figure(qwen: SharedQwen, task: Task, calibration: Calibration, what: str, target: Target | None) -> Figure:
    """Share of the rows whose answer is another one under the reversed order or under some rotation."""
    changes = [any(_changes(qwen, text, list(_orders(question)), calibration)) for text, question in _choices(task)]
    return Figure.of(f"{task.name}: changed by {what}", Proportion(sum(changes), len(changes)), target=target)


def wording_figure(qwen: SharedQwen, task: Task) -> Figure:
    """Share of the pairs of a row and a wording whose answer differs from that to the shipped wording."""
    wordings = sets.content("paraphrases")
    changes: list[bool] = []
    for text, question in _choices(task):
        reworded = _reworded(question, wordings[language_of(text)][task.name])
        changes += _changes(qwen, text, reworded, task.calibration)
    return Figure.of(
        f"{task.name}: changed by another wording", Proportion(sum(changes), len(changes)), target=_WORDING
    )


def _choices(task: Task) -> Iterator[tuple[str, Choice]]:
    """Some texts of a task, each with a question whose options can be moved."""
    for exercise in drawn(task.exercises, _MOST):
        if isinstance(exercise.question, Choice):
            yield exercise.row.text, exercise.question


def _changes(qwen: SharedQwen, text: str, questions: Sequence[Choice], calibration: Calibration) -> list[bool]:
    """Whether each question but the first is answered otherwise than the first; all asked at once."""
    asked = {str(number): question for number, question in enumerate(questions)}
    first, *others = (decision.option for decision in qwen.decide(text, asked, calibration=calibration).values())
    return [option != first for option in others]


def _orders(question: Choice) -> Iterator[Choice]:
    """The question as it stands, reversed, and in every rotation; each order once."""
    labels = list(question.criteria)
    turned = [(*labels[start:], *labels[:start]) for start in range(1, len(labels))]
    for order in dict.fromkeys([tuple(labels), tuple(labels[::-1]), *turned]):
        criteria = {label: question.criteria[label] for label in order}
        yield Choice(instructions=question.instructions, criteria=criteria)


def _reworded(question: Choice, wordings: Sequence[str]) -> list[Choice]:
    return [question, *(Choice(instructions=words, criteria=question.criteria) for words in wordings)]
