"""Result files appear together or not at all."""

from pathlib import Path

import pytest

from qwen_allinone.errors import DataFileError, RunError
from qwen_allinone.eval.result_folder import require_writable, write_together


def test_files_are_written_together_and_nothing_else(tmp_path):
    """The folder is made, and holds the named files only."""
    write_together(tmp_path / "new" / "out", {"a": "好\n", "b": ""})
    found = {path.name: path.read_bytes() for path in (tmp_path / "new" / "out").iterdir()}
    assert found == {"a": "好\n".encode(), "b": b""}


def test_a_failure_while_moving_leaves_no_mixture_of_two_runs(tmp_path, monkeypatch):
    """If the second file cannot be moved, the new first does not stand beside the old second."""
    (tmp_path / "a").write_text("old", encoding="utf-8")
    (tmp_path / "b").write_text("old", encoding="utf-8")
    replace = Path.replace

    def fails_for_b(self, target):
        if self.name == "b":
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fails_for_b)
    with pytest.raises(RunError, match="No space left on device"):
        write_together(tmp_path, {"a": "new", "b": "new"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [KeyboardInterrupt, OSError])
def test_an_early_end_keeps_earlier_files_and_makes_no_folder(tmp_path, monkeypatch, ending):
    """Ctrl-C or a full disk while writing changes nothing that was there."""
    write_together(tmp_path / "old", {"a": "old"})

    def ends(*_arguments, **_options):
        raise ending

    monkeypatch.setattr(Path, "write_text", ends)
    for folder in ("old", "new"):
        with pytest.raises(KeyboardInterrupt if ending is KeyboardInterrupt else RunError):
            write_together(tmp_path / folder, {"a": "new"})
    assert [path.name for path in tmp_path.rglob("*")] == ["old", "a"]
    assert (tmp_path / "old" / "a").read_text(encoding="utf-8") == "old"


def test_the_check_leaves_nothing(tmp_path):
    """A folder that can be written is neither made nor changed by the check."""
    require_writable(tmp_path / "new" / "out", ["a"])
    assert list(tmp_path.iterdir()) == []


def test_the_check_refuses_what_cannot_be_written(tmp_path):
    """A file in place of the folder, or a folder in place of a file, is named in one line."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "out" / "a").mkdir(parents=True)
    for folder in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "out"):
        with pytest.raises(DataFileError, match="results cannot be written to") as raised:
            require_writable(folder, ["a"])
        assert "\n" not in str(raised.value)
