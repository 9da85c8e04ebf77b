import pytest
from known_model import MOOD, ROUTE, ROUTES, KnownModel, first_listed, right, tasks

from qwen_allinone.eval import Case
from qwen_allinone.eval.diagnostics import Task
from qwen_allinone.eval.diagnostics.evaluations import Evaluations
from qwen_allinone.eval.diagnostics.option_flips import count_option_flips
from qwen_allinone.model import Noul

ROWS = 12


def flips(rule, **options):
    """Return the flips of a model that decides by a rule."""
    return count_option_flips(Evaluations(KnownModel(rule, **options)), tasks(ROWS)).tasks


@pytest.mark.parametrize("task", ["mood", "route"])
def test_flips_of_a_model_that_reads_the_words_are_none(task):
    """Decisions that follow the labels do not change with their order."""
    found = flips(right)[task]
    assert (found.reversed.value, found.rotated.value, found.any.value) == (0.0, 0.0, 0.0)
    assert found.any.n == ROWS and found.unscored == 0


@pytest.mark.parametrize("task", ["mood", "route"])
def test_flips_of_a_model_that_takes_the_first_are_total(task):
    """Decisions that follow the position change under every other order."""
    found = flips(first_listed)[task]
    assert (found.reversed.value, found.rotated.value, found.any.value) == (1.0, 1.0, 1.0)


def test_a_rotation_is_told_from_a_reversal():
    """A model that takes the first unless the list is reversed flips under rotation only, and so under any."""

    def rule(text, question, how):
        labels = list(question.criteria)
        return labels[-1] if labels == list(ROUTES.criteria)[::-1] else first_listed(text, question, how)

    found = flips(rule)["route"]
    assert (found.reversed.value, found.rotated.value, found.any.value) == (0.0, 1.0, 1.0)


def test_texts_that_cannot_be_decided_are_counted_apart():
    """A text that is too long is unscored, never flipped."""
    found = flips(right, too_long=(MOOD.spaced(ROWS).cases[3].row.text,))["mood"]
    assert (found.any.n, found.unscored) == (ROWS - 1, 1)
    assert found.to_json()["any"] == found.to_json()["reversed"] and found.to_json()["unscored"] == 1


def test_options_that_have_no_order_never_flip(qwen):
    """Yes and no are asked in one way only."""
    task = Task(
        "request", "routes", tuple(Case(case.row, Noul(instructions="要办事？")) for case in ROUTE.spaced(2).cases)
    )
    found = count_option_flips(Evaluations(qwen), [task]).tasks["request"]
    assert (found.any.value, found.any.n) == (0.0, 2)


def test_progress_is_told_row_by_row():
    """Each step is told up to its last row, undecided rows included."""
    steps = {}
    model = KnownModel(right, too_long=(MOOD.spaced(3).cases[2].row.text,))
    evaluations = Evaluations(model, lambda step, done, total: steps.update({step: (done, total)}))
    count_option_flips(evaluations, tasks(3))
    assert steps == {"known: mood, option orders": (3, 3), "known: route, option orders": (3, 3)}
