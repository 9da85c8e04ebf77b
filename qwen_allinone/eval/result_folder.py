"""A folder of result files that appear together or not at all."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from qwen_allinone.errors import DataFileError


@contextmanager
def result_folder(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """A temporary folder; the files of these names written into it move to ``folder`` when the block succeeds.

    Whatever ends the block early, Ctrl-C included, leaves earlier results as they were, and no folder that was not
    there before. If moving itself fails, none of the files is left. The last of the names marks completeness: where
    it stands, the others belong to it, even after a crash in the midst of moving.

    Raises:
        DataFileError: the folder cannot be created or written; before the block begins.
    """
    created = _create(folder)
    try:
        staging = Path(tempfile.mkdtemp(prefix=".incomplete-", dir=folder))
    except OSError as error:
        _remove(created)
        raise _unwritable(folder, error) from error
    try:
        yield staging
        _publish(staging, folder, names)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        _remove(created)
        raise
    shutil.rmtree(staging, ignore_errors=True)


def _create(folder: Path) -> list[Path]:
    missing: list[Path] = []
    try:
        missing += [each for each in (folder, *folder.parents) if not each.exists()]
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _remove(missing)
        raise _unwritable(folder, error) from error
    return missing


def _remove(folders: Sequence[Path]) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _publish(staging: Path, folder: Path, names: Sequence[str]) -> None:
    (folder / names[-1]).unlink(missing_ok=True)
    try:
        for name in names:
            (staging / name).replace(folder / name)
    except BaseException:
        for name in names:
            (folder / name).unlink(missing_ok=True)
        raise


def _unwritable(folder: Path, error: OSError) -> DataFileError:
    return DataFileError(f"results cannot be written to {folder}: {error.strerror or error}; name another folder")
