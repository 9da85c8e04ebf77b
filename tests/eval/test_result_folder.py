"""Result files appear together or not at all."""

import pytest

from qwen_allinone.eval.result_folder import result_folder


def test_a_failure_while_moving_leaves_no_mixture_of_two_runs(tmp_path):
    """If the second file cannot be moved, the new first does not stand beside the old second."""
    for name in ("a", "b"):
        (tmp_path / name).write_text("old", encoding="utf-8")
    with pytest.raises(FileNotFoundError), result_folder(tmp_path, ["a", "b"]) as folder:
        (folder / "a").write_text("new", encoding="utf-8")
    assert list(tmp_path.iterdir()) == []


def test_only_the_named_files_are_published(tmp_path):
    """What else was written into the temporary folder is gone."""
    with result_folder(tmp_path / "out", ["a"]) as folder:
        (folder / "a").write_text("kept", encoding="utf-8")
        (folder / "scratch").write_text("", encoding="utf-8")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]
