from known_model import MOOD

from qwen_allinone.eval import LabelledSet

ROWS = 12


def test_all_rows_are_taken_unless_told():
    """Without a number of rows, or with more than there are, a task keeps its whole set."""
    assert MOOD.spaced(None) is MOOD and MOOD.spaced(10**6) is MOOD
    whole = LabelledSet.builtin("sentiment")
    assert MOOD.to_json() == {"set": "sentiment", "rows": len(whole.rows), "digest": whole.digest}


def test_fewer_rows_are_spread_over_the_set():
    """A sample has so many different rows, from the beginning to the end of the set, the same each time."""
    rows, every = MOOD.spaced(ROWS).labelled_set.rows, MOOD.labelled_set.rows
    assert len({row.id for row in rows}) == ROWS
    assert rows[0] == every[0] and every.index(rows[-1]) >= len(every) * (ROWS - 1) // ROWS
    assert rows == MOOD.spaced(ROWS).labelled_set.rows
