"""Labelled sets, built-in and your own."""

from collections import Counter

import pytest

from qwen_allinone.errors import DataFileError
from qwen_allinone.eval import LABEL_MAPS, LabelledSet
from qwen_allinone.eval.data_file import read_records

SENTIMENT = LABEL_MAPS["sentiment"]


def written(folder, name, content):
    """Write a UTF-8 file and return its path."""
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def test_the_builtin_sentiment_set_is_large_and_varied():
    """At least 400 rows in 300 frames, both languages, both labels, and the hard slices are there."""
    from importlib.resources import files

    rows = LabelledSet.builtin("sentiment").rows
    records = read_records(files("qwen_allinone.eval") / "sets" / "sentiment.jsonl")
    assert len(rows) >= 400
    assert len({record.fields["frame"] for record in records}) >= 300
    assert {row.language for row in rows} == {"zh", "en"}
    assert {row.labels for row in rows} == {("positive",), ("negative",)}
    counts: Counter[str] = Counter()
    for row in rows:
        counts.update(row.slices)
    assert all(counts[name] >= 30 for name in ("negation", "irony", "mixed", "language:zh", "language:en"))


def test_the_builtin_routes_set_is_large_and_names_every_route():
    """At least 200 rows; each default route is the main label of some, and some rows accept two."""
    rows = LabelledSet.builtin("routes").rows
    assert len(rows) >= 200
    assert {row.labels[0] for row in rows} == {"sentiment", "chat", "intent", "summary"}
    assert {len(row.labels) for row in rows} == {1, 2}


@pytest.mark.parametrize("name", ["sentiment", "routes"])
def test_no_text_stands_twice_in_a_builtin_set(name):
    """Every row of a built-in set has a text of its own."""
    rows = LabelledSet.builtin(name).rows
    assert len({row.text for row in rows}) == len(rows)


def test_an_unknown_builtin_set_is_refused():
    """The message names the sets that exist."""
    with pytest.raises(DataFileError, match="'moods'; there are: sentiment, routes"):
        LabelledSet.builtin("moods")


@pytest.mark.parametrize(
    ("spelling", "label"),
    [("Positive", "positive"), (" NEG ", "negative"), ("正面", "positive"), ("差评", "negative"), ("1.0", "positive")],
)
def test_usual_spellings_of_sentiments_are_understood(tmp_path, spelling, label):
    """Spellings are compared without case and surrounding space."""
    path = written(tmp_path, "a.csv", f"text,label\n行,{spelling}\n")
    assert LabelledSet.from_file(path, label_map=SENTIMENT).rows[0].labels == (label,)


def test_labels_may_be_json_numbers(tmp_path):
    """0 and 1 need no quotation marks in JSONL."""
    path = written(tmp_path, "a.jsonl", '{"text": "好", "label": 1}\n{"text": "差", "label": 0}\n')
    rows = LabelledSet.from_file(path, label_map=SENTIMENT).rows
    assert [row.labels for row in rows] == [("positive",), ("negative",)]


def test_labels_are_taken_as_they_stand_without_a_map(tmp_path):
    """A task of your own may have any labels."""
    path = written(tmp_path, "a.csv", "text,label\n开发票,发票\n退货,售后\n")
    assert LabelledSet.from_file(path).labels == ("发票", "售后")


def test_a_row_may_accept_several_labels(tmp_path):
    """Several labels are a list in JSONL and joined by a bar in CSV."""
    bar = written(tmp_path, "a.csv", "text,label\n终于跑通了,sentiment|chat\n")
    array = written(tmp_path, "a.jsonl", '{"text": "终于跑通了", "label": ["sentiment", "chat"]}\n')
    for path in (bar, array):
        assert LabelledSet.from_file(path).rows[0].labels == ("sentiment", "chat")


def test_columns_are_named_by_the_caller(tmp_path):
    """Text, label, id and slices may stand in any columns."""
    path = written(tmp_path, "a.tsv", "nr\tshop\treview\tstars\nx7\t面馆\t汤鲜\tpos\n")
    (row,) = LabelledSet.from_file(
        path, "review", label_column="stars", label_map=SENTIMENT, id_column="nr", slice_columns=["shop"]
    ).rows
    assert (row.id, row.text, row.labels) == ("x7", "汤鲜", ("positive",))
    assert row.slices == ("language:zh", "shop:面馆")


def test_language_is_recognised_unless_a_column_says_it(tmp_path):
    """A column named language is believed, and blank values make no slice."""
    path = written(tmp_path, "a.csv", "text,label,language\nok,1,zh\nfine words,1,\n")
    told = LabelledSet.from_file(path, slice_columns=["language"]).rows
    assert [(row.language, row.slices) for row in told] == [("zh", ("language:zh",)), ("en", ("language:en",))]
    assert [row.language for row in LabelledSet.from_file(path).rows] == ["en", "en"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\n", "a.csv has no rows"),
        ("", "a.csv has no rows"),
        ("review,stars\n好,1\n", r"a\.csv, line 2: there is no column 'label'; there are: 'review', 'stars'"),
        ("text,label\n,1\n  ,0\n", "a.csv: every row has a blank text; name the columns"),
        ("text,label\n好,\n差,\n", "a.csv: every row has a blank label"),
        ("text,label\n好,\n ,1\n", "a.csv: every row has a blank label or blank text"),
        (
            "text,label\n好,1\n行,neutral\n嗯,3\n",
            "line 3: labels not known: 'neutral', '3'; allowed: positive, negative",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path, content, message):
    """The message says where, what is wrong and what is allowed."""
    with pytest.raises(DataFileError, match=message):
        LabelledSet.from_file(written(tmp_path, "a.csv", content), label_map=SENTIMENT)


@pytest.mark.parametrize("value", ["true", "[null]", '{"a": 1}'])
def test_a_json_label_of_another_kind_is_refused(tmp_path, value):
    """A label is text, a number, or a list of such."""
    with pytest.raises(DataFileError, match="line 1: column 'label'"):
        LabelledSet.from_file(written(tmp_path, "a.jsonl", f'{{"text": "好", "label": {value}}}\n'))


def test_a_text_of_another_kind_is_refused(tmp_path):
    """A number is not a text."""
    with pytest.raises(DataFileError, match="line 1: column 'text' must hold a text, this is int"):
        LabelledSet.from_file(written(tmp_path, "a.jsonl", '{"text": 5, "label": "1"}\n'))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "text,label\n好,1\n ,0\n差,\n行,1|\n\u3000,\n"),
        (
            "a.jsonl",
            '{"text": "好", "label": 1}\n{"text": null, "label": 0}\n{"text": "差", "label": []}\n'
            '{"text": "行", "label": ["1", ""]}\n{"label": null}\n',
        ),
    ],
)
def test_a_row_with_a_blank_cell_is_kept_and_says_so(tmp_path, name, content):
    """One blank cell does not refuse the file, and no label is made up for it."""
    rows = LabelledSet.from_file(written(tmp_path, name, content), label_map=SENTIMENT).rows
    assert [row.blank for row in rows] == [None, "blank text", "blank label", "blank label", "blank text"]
    assert [row.labels for row in rows] == [("positive",), ("negative",), (), (), ()]
    assert [row.slices for row in rows] == [("language:zh",), (), ("language:zh",), ("language:zh",), ()]


def test_a_blank_cell_of_another_column_is_no_fault(tmp_path):
    """A row without an id is named by its number, one without a slice is in none."""
    lines = '{"text": "ok", "label": "1", "nr": "x", "shop": "s"}\n{"text": "ok", "label": "1"}\n'
    path = written(tmp_path, "a.jsonl", lines)
    rows = LabelledSet.from_file(path, id_column="nr", slice_columns=["shop"]).rows
    assert [(row.id, row.slices) for row in rows] == [("x", ("language:en", "shop:s")), ("2", ("language:en",))]


def test_ids_must_differ(tmp_path):
    """A column with repeated values cannot name the rows."""
    path = written(tmp_path, "a.csv", "text,label,user\n好,1,u1\n差,0,u1\n")
    with pytest.raises(DataFileError, match="id 'u1' stands in 2 rows"):
        LabelledSet.from_file(path, id_column="user")
    assert [row.id for row in LabelledSet.from_file(path).rows] == ["1", "2"]


def test_the_digest_is_of_the_data_not_of_the_file(tmp_path):
    """The same rows have one digest as CSV and as JSONL; another label has another."""
    csv = LabelledSet.from_file(written(tmp_path, "a.csv", "text,label\n好,正面\n"), label_map=SENTIMENT)
    json = LabelledSet.from_file(written(tmp_path, "b.jsonl", '{"label": 1, "text": "好"}'), label_map=SENTIMENT)
    other = LabelledSet.from_file(written(tmp_path, "c.csv", "text,label\n好,负面\n"), label_map=SENTIMENT)
    assert csv.digest == json.digest != other.digest
