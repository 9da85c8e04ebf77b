import json

from known_model import KnownModel, first_listed, right

from qwen_allinone.doctor.survey import Survey, corrections, layouts, option_flips, shipped_tasks
from qwen_allinone.eval import LabelledSet
from qwen_allinone.model import Calibration

ROWS = 12


def surveyed(rule, **options):
    """A model that decides by a rule, and the survey that asks it."""
    model = KnownModel(rule, **options)
    return model, Survey(model, shipped_tasks(ROWS))


def test_all_rows_are_taken_unless_told():
    """Without a number of rows the tasks are the whole shipped sets."""
    mood, route = shipped_tasks()
    assert mood.labelled_set.digest == LabelledSet.builtin("sentiment").digest
    assert route.labelled_set.digest == LabelledSet.builtin("routes").digest
    assert shipped_tasks(10**6)[0].labelled_set.digest == mood.labelled_set.digest


def test_fewer_rows_are_spread_over_the_set():
    """A sample has so many different rows, from the beginning to the end of the set, the same each time."""
    rows = shipped_tasks(ROWS)[0].labelled_set.rows
    every = LabelledSet.builtin("sentiment").rows
    assert len({row.id for row in rows}) == ROWS
    assert rows[0] == every[0] and every.index(rows[-1]) >= len(every) * (ROWS - 1) // ROWS
    assert rows == shipped_tasks(ROWS)[0].labelled_set.rows


def test_a_model_that_is_right_has_full_accuracy_in_both_languages():
    """The first option of the mood question counts as positive, whatever it is called in the text's language."""
    found = layouts(Survey(KnownModel(right), shipped_tasks()))["text_first"]
    assert (found["mood"]["accuracy"], found["mood"]["n"]) == (1.0, len(LabelledSet.builtin("sentiment").rows))
    assert (found["route"]["accuracy"], found["route"]["n"]) == (1.0, len(LabelledSet.builtin("routes").rows))
    assert found["mood"]["interval"][0] > 0.98 and found["mood"]["interval"][1] == 1.0
    assert found["route"]["baseline"] < 1.0


def test_layouts_are_measured_apart():
    """A model that understands one layout only is right there and at the level of a constant answer elsewhere."""
    _, survey = surveyed(
        lambda text, asked, how: (right if how["layout"] == "text_first" else first_listed)(text, asked, how)
    )
    found = layouts(survey)
    assert found["text_first"]["route"]["accuracy"] == 1.0
    assert found["instruction_first"]["route"]["accuracy"] < 1.0


def test_corrections_are_measured_apart():
    """Each correction is judged by the decisions made with it."""
    _, survey = surveyed(
        lambda text, asked, how: (right if how["calibration"].prior else first_listed)(text, asked, how)
    )
    found = corrections(survey)
    assert found["prior"]["mood"]["accuracy"] == 1.0
    assert found["none"] == found["permutations"] == found["per token"] and found["none"]["mood"]["accuracy"] < 1.0


def test_flips_of_a_model_that_reads_the_words_are_none():
    """Decisions that follow the labels do not change with their order."""
    _, survey = surveyed(right)
    for found in option_flips(survey).values():
        assert [found[order]["share"] for order in ("reversed", "rotated", "any")] == [0.0, 0.0, 0.0]
        assert found["any"]["n"] == ROWS and found["unscored"] == 0


def test_flips_of_a_model_that_takes_the_first_are_total():
    """Decisions that follow the position change under every other order."""
    _, survey = surveyed(first_listed)
    for found in option_flips(survey).values():
        assert [found[order]["share"] for order in ("reversed", "rotated", "any")] == [1.0, 1.0, 1.0]


def test_a_rotation_is_told_from_a_reversal():
    """A model that takes the first unless the list is reversed flips under rotation only, and so under any."""
    listed = ["sentiment", "chat", "intent", "summary"]

    def rule(text, asked, how):
        labels = list(asked.criteria)
        return labels[-1] if labels == listed[::-1] else first_listed(text, asked, how)

    found = option_flips(surveyed(rule)[1])["route"]
    assert [found[order]["share"] for order in ("reversed", "rotated", "any")] == [0.0, 1.0, 1.0]


def test_texts_that_cannot_be_decided_are_counted_apart():
    """A text that is too long is unscored and named, never wrong or flipped."""
    long = shipped_tasks(ROWS)[0].labelled_set.rows[3].text
    _, survey = surveyed(right, too_long=(long,))
    accuracy, flips = layouts(survey)["text_first"]["mood"], option_flips(survey)["mood"]
    assert (accuracy["accuracy"], accuracy["n"], accuracy["unscored"]) == (1.0, ROWS - 1, 1)
    assert accuracy["errors"] == {"TextTooLongError: too long": 1}
    assert (flips["any"]["n"], flips["unscored"]) == (ROWS - 1, 1)


def test_nothing_scored_gives_no_figure():
    """Where every row fails, accuracy and interval are null, and the result still is JSON."""
    texts = tuple(row.text for task in shipped_tasks(ROWS) for row in task.labelled_set.rows)
    _, survey = surveyed(right, too_long=texts)
    found = {"layouts": layouts(survey), "flips": option_flips(survey)}
    assert found["layouts"]["text_first"]["mood"]["accuracy"] is None
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_no_decision_is_made_twice():
    """What one part decided, another one takes over."""
    model, survey = surveyed(right)
    layouts(survey)
    before = model.calls
    layouts(survey)
    survey.report(survey.tasks[0], calibration=Calibration(), layout="text_first")
    assert model.calls == before == 2 * 2 * ROWS
    corrections(survey)
    assert model.calls == before + 3 * 2 * ROWS


def test_progress_is_told_row_by_row():
    """Whoever waits hears of each step, up to its last row."""
    steps = {}
    survey = Survey(KnownModel(right), shipped_tasks(3), lambda step, done, total: steps.update({step: (done, total)}))
    layouts(survey)
    option_flips(survey)
    assert len(steps) == 6 and set(steps.values()) == {(3, 3)}
