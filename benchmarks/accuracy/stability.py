"""Answers that change though nothing that matters did: the order of the options, the wording of the question."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from benchmarks.accuracy.cases import content, drawn, written_cases
from benchmarks.accuracy.decisions import corrections
from benchmarks.accuracy.figure import Figure, Target
from benchmarks.accuracy.sets import Task
from qwen_allinone.eval import Case
from qwen_allinone.eval.metrics import Proportion
from qwen_allinone.model import Calibration, Choice, SharedQwen
from qwen_allinone.model.prompt.language import language_of

_TASKS: tuple[Task, ...] = ("route", "mood", "intent")
_ORDER, _WORDING = Target(0.02, "at most"), Target(0.05, "at most")
_MOST = 120
"""Rows of each task; every one is asked some twenty times."""


def figures(qwen: SharedQwen) -> list[Figure]:
    """Return the changes by option order, as the toolkit asks and with the order as given; then by wording."""
    cases = {task: drawn(written_cases(task), _MOST) for task in _TASKS}
    asked = {task: corrections(task, qwen) for task in _TASKS}
    found: list[Figure] = []
    for task in _TASKS:
        found.append(order_figure(qwen, cases[task], asked[task], f"{task}: changed by another option order", _ORDER))
    for task in _TASKS:
        given = as_given(asked[task])
        found.append(order_figure(qwen, cases[task], given, f"{task}: changed by another order, unsorted", None))
    for task in _TASKS:
        found.append(wording_figure(qwen, task, cases[task], asked[task]))
    return found


def order_figure(
    qwen: SharedQwen, cases: Sequence[Case], calibration: Calibration, what: str, target: Target | None
) -> Figure:
    """Return the share of rows whose answer is another one under the reversed order or under some rotation."""
    changes = [any(_changes(qwen, text, list(_orders(question)), calibration)) for text, question in _choices(cases)]
    return Figure.from_share(what, Proportion(sum(changes), len(changes)), target=target)


def wording_figure(qwen: SharedQwen, task: str, cases: Sequence[Case], calibration: Calibration) -> Figure:
    """Return the share of pairs of a row and a wording whose answer differs from that to the shipped wording."""
    wordings = content("paraphrases")
    changes: list[bool] = []
    for text, question in _choices(cases):
        reworded = _reworded(question, wordings[language_of(text)][task])
        changes += _changes(qwen, text, reworded, calibration)
    share = Proportion(sum(changes), len(changes))
    return Figure.from_share(f"{task}: changed by another wording", share, target=_WORDING)


def as_given(calibration: Calibration) -> Calibration:
    """Return the same corrections with the options listed in the caller's order."""
    return replace(calibration, order="given")


def _choices(cases: Sequence[Case]) -> Iterator[tuple[str, Choice]]:
    """Yield each text with its question, if the options of that can be moved."""
    for case in cases:
        if isinstance(case.question, Choice):
            yield case.row.text, case.question


def _changes(qwen: SharedQwen, text: str, questions: Sequence[Choice], calibration: Calibration) -> list[bool]:
    """Return true for each question but the first that is answered otherwise than the first; all asked at once."""
    asked = {str(number): question for number, question in enumerate(questions)}
    first, *others = (
        decision.option for decision in qwen.decide(text, asked, calibration=calibration, learned=False).values()
    )
    return [option != first for option in others]


def _orders(question: Choice) -> Iterator[Choice]:
    """Yield the question as it stands, reversed, and in every rotation; each order once."""
    labels = list(question.criteria)
    turned = [(*labels[start:], *labels[:start]) for start in range(1, len(labels))]
    for order in dict.fromkeys([tuple(labels), tuple(labels[::-1]), *turned]):
        criteria = {label: question.criteria[label] for label in order}
        yield Choice(instructions=question.instructions, criteria=criteria)


def _reworded(question: Choice, wordings: Sequence[str]) -> list[Choice]:
    return [question, *(Choice(instructions=words, criteria=question.criteria) for words in wordings)]
