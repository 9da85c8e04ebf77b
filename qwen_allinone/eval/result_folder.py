"""Result files that appear in a folder together or not at all."""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from qwen_allinone.errors import DataFileError, RunError


def require_writable(folder: Path, names: Sequence[str]) -> None:
    """Check before a long run that files of these names can be written to a folder; nothing is left there.

    Raises:
        DataFileError: the folder cannot be created or written, or one of the names is a folder.
    """
    created: list[Path] = []
    try:
        created += _missing(folder)
        with _staging(folder):
            blocked = [name for name in names if (folder / name).is_dir()]
    except OSError as error:
        raise DataFileError(
            f"results cannot be written to {folder}: {error.strerror or error}; name another folder"
        ) from error
    finally:
        _remove(created)
    if blocked:
        raise DataFileError(f"results cannot be written to {folder}: {blocked[0]} is a folder; name another folder")


def write_together(folder: Path, texts: Mapping[str, str]) -> None:
    """Write texts to files of these names, in place of earlier ones.

    Whatever ends the writing early, Ctrl-C included, leaves earlier files as they were, and no folder that was not
    there before. If moving the finished files into place fails, none of them is left. The last of the names marks
    completeness: where it stands, the others belong to it, even after a crash in the midst of moving.

    Raises:
        RunError: the files cannot be written, as on a full disk.
    """
    created: list[Path] = []
    try:
        created += _missing(folder)
        with _staging(folder) as staging:
            for name, text in texts.items():
                (Path(staging) / name).write_text(text, encoding="utf-8", newline="\n")
            _publish(Path(staging), folder, list(texts))
    except OSError as error:
        _remove(created)
        raise RunError(
            f"results cannot be written to {folder}: {error.strerror or error}; make room there or name another folder"
        ) from error
    except BaseException:
        _remove(created)
        raise


def _staging(folder: Path) -> "tempfile.TemporaryDirectory[str]":
    folder.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix=".incomplete-", dir=folder, ignore_cleanup_errors=True)


def _missing(folder: Path) -> list[Path]:
    """Return the folder and those above it that do not exist yet, innermost first."""
    return [each for each in (folder, *folder.parents) if not each.exists()]


def _remove(folders: Sequence[Path]) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _publish(staging: Path, folder: Path, names: Sequence[str]) -> None:
    # The mark of completeness goes first and comes last: a crash in between leaves files that no mark vouches for.
    (folder / names[-1]).unlink(missing_ok=True)
    try:
        for name in names:
            (staging / name).replace(folder / name)
    except BaseException:
        for name in names:
            (folder / name).unlink(missing_ok=True)
        raise
