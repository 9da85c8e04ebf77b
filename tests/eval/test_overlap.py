"""Training texts share no passage with evaluation rows."""

from pathlib import Path

import pytest

from qwen_allinone.eval import LabelledRow, LabelledSet, find_overlaps

EXAMPLES = Path(__file__).parents[2] / "training" / "examples"


def zh(text):
    """Make a Chinese row."""
    return LabelledRow("z", text, ("positive",), "zh")


def en(text):
    """Make an English row."""
    return LabelledRow("e", text, ("positive",), "en")


def found(row, text):
    """Return the passage that a text shares with a row, or None."""
    return next((overlap.shared for overlap in find_overlaps([row], [text])), None)


def test_twelve_chinese_characters_in_a_row_are_shared_and_eleven_are_not():
    """The run may stand anywhere in both; white space does not count, punctuation does."""
    row = zh("早餐寒酸，服务冷漠，性价比极低")
    assert found(row, "说真的早餐寒酸， 服务冷漠，性价就这样") == "早餐寒酸，服务冷漠，性价"
    assert found(row, "说真的早餐寒酸，服务冷漠，性就这样") is None
    assert found(row, "说真的早餐寒酸；服务冷漠，性价就这样") is None


def test_six_english_words_in_a_row_are_shared_and_five_are_not():
    """Case and punctuation do not count."""
    row = en("Loved waiting ninety minutes for a pizza")
    assert found(row, "she LOVED waiting, ninety minutes for... a while") == "loved waiting ninety minutes for a"
    assert found(row, "waiting ninety minutes for a while") is None


def test_an_apostrophe_joins_and_a_hyphen_parts():
    """``don't`` equals ``dont`` and ``ice-cream`` equals ``ice cream``."""
    row = en("I don't like this ice-cream anymore")
    assert found(row, "so i dont like this ice cream") == "i dont like this ice cream"


@pytest.mark.parametrize(
    ("row", "text", "shared"),
    [
        (zh("不虚此行！"), "不虚此行", True),
        (zh("不虚此行！"), "真是不虚此行", False),
        (en("Can't fault it."), "can't fault it", True),
        (en("Can't fault it."), "I can't fault it", False),
        (zh("👍"), "👍", True),
        (zh("👍"), "👎", False),
    ],
)
def test_a_row_shorter_than_a_run_is_shared_by_its_equal(row, text, shared):
    """Equality is judged without punctuation; being part of a longer text is no sharing."""
    assert (found(row, text) is not None) is shared


def test_an_overlap_names_row_and_text():
    """Each text is reported once, with its place."""
    rows = [zh("早餐寒酸，服务冷漠，性价比极低"), en("Not worth the money.")]
    (overlap,) = find_overlaps(rows, ["something else", "not worth the money", "没有关系的一句话"])
    assert (overlap.index, overlap.text, overlap.row_id) == (1, "not worth the money", "e")


def examples():
    """Yield place and text of every field of the hand-written training examples."""
    for file in sorted(EXAMPLES.glob("*.tsv")):
        for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), start=1):
            yield from ((f"{file.name}:{number}", field) for field in line.split("\t") if field.strip())


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="training/examples is not part of an installed package")
@pytest.mark.parametrize("name", ["sentiment", "routes"])
def test_no_shipped_row_shares_a_passage_with_the_training_examples(name):
    """The model is never measured on a text that it was trained on by hand."""
    fields = list(examples())
    found = find_overlaps(LabelledSet.builtin(name).rows, (text for _, text in fields))
    assert [f"{fields[each.index][0]} ~ {each.row_id}: {each.shared}" for each in found] == []
