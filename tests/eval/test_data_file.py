"""Reading records of CSV, TSV and JSONL files."""

import gzip

import pytest

from qwen_allinone.errors import DataFileError
from qwen_allinone.eval.data_file import read_records

ROWS = [{"text": "汤很鲜", "label": "1"}, {"text": "cold soup", "label": "0"}]
CONTENT = {
    "a.csv": "text,label\n汤很鲜,1\ncold soup,0\n",
    "a.tsv": "text\tlabel\n汤很鲜\t1\ncold soup\t0\n",
    "a.jsonl": '{"text": "汤很鲜", "label": "1"}\n{"text": "cold soup", "label": "0"}\n',
}


def written(folder, name, content):
    """Write a file of text or bytes and return its path."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


@pytest.mark.parametrize("name", CONTENT)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("zipped", [False, True])
def test_every_format_gives_the_same_records(tmp_path, name, ends, mark, zipped):
    """CSV, TSV and JSONL, with Windows line ends, with Excel's byte order mark, and gzipped, hold the same rows."""
    data = mark + CONTENT[name].replace("\n", ends).encode("utf-8")
    path = written(tmp_path, name + ".gz" if zipped else name, gzip.compress(data, mtime=0) if zipped else data)
    assert [record.fields for record in read_records(path)] == ROWS


def test_the_suffix_may_be_in_capitals(tmp_path):
    """A file named ``DATA.CSV`` is read as CSV."""
    assert len(read_records(written(tmp_path, "DATA.CSV", CONTENT["a.csv"]))) == 2


def test_csv_fields_may_hold_commas_quotes_and_line_breaks(tmp_path):
    """A quoted field in CSV may span lines, and lines are counted through its breaks."""
    records = read_records(written(tmp_path, "a.csv", 'text,label\n"好吃,\n""真""的",1\n\n差,0\n'))
    assert [record.fields["text"] for record in records] == ['好吃,\n"真"的', "差"]
    assert [record.where for record in records] == ["a.csv, line 2", "a.csv, line 5"]


def test_tsv_quotation_marks_are_text(tmp_path):
    """An opening quotation mark in TSV does not swallow the lines after it."""
    records = read_records(written(tmp_path, "a.tsv", 'text\tlabel\n"oops\t0\nfine\t1\n'))
    assert [record.fields["text"] for record in records] == ['"oops', "fine"]


def test_a_line_separator_within_json_is_part_of_the_text(tmp_path):
    """U+2028 in a JSON string does not end the line."""
    (record,) = read_records(written(tmp_path, "a.jsonl", '{"text": "a\u2028b"}\n\n'))
    assert record.fields["text"] == "a\u2028b"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", b"PK", r"a\.xlsx is not a data file; allowed suffixes: \.csv, \.tsv, \.jsonl"),
        ("a.csv", b"text,label\n\xb2\xe2\xca\xd4,1\n", "a.csv is not UTF-8 at byte 11"),
        ("a.csv", b"\xef\xbb\xbftext\n\xff\n", "not UTF-8 at byte 8"),
        ("a.csv", 'text,label\nok,1\n"never closed,1\n', "a.csv, line 3: broken record"),
        ("a.csv", "text,label\n便宜,好用,1\n", "a.csv, line 2: 3 fields where the header has 2; put texts"),
        ("a.tsv", "text\tlabel\nonly text\n", "a.tsv, line 2: 1 fields where the header has 2; no tab"),
        ("a.csv", "text,text\na,b\n", "columns named twice: text"),
        ("a.jsonl", '{"text": "a"}\n{"text": \n', "a.jsonl, line 2: broken JSON"),
        ("a.jsonl", "[" * 100_000, "a.jsonl, line 1: broken JSON"),
        ("a.jsonl", '["a"]\n', "line 1: each line must be a JSON object"),
        ("a.jsonl", '{"text": "\\ud83d"}\n', "line 1: holds half of a character"),
        ("a.csv.gz", b"not gzip", r"a\.csv\.gz is not a complete gzip file"),
        ("a.csv.gz", gzip.compress(b"text\n" * 99, mtime=0)[:-9], "not a complete gzip file"),
    ],
)
def test_a_broken_file_is_one_clear_line(tmp_path, name, content, message):
    """One line says where and what is wrong, never a traceback of another library."""
    with pytest.raises(DataFileError, match=message) as raised:
        read_records(written(tmp_path, name, content))
    assert "\n" not in str(raised.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    """A path that is no file is refused by name."""
    with pytest.raises(DataFileError, match=r"no file .*none\.csv"):
        read_records(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataFileError, match=r"folder\.csv cannot be read"):
        read_records(tmp_path / "folder.csv")
