"""Corrections of users: inputs with the route that they belong to, kept as examples."""

import json
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qwen_allinone.errors import StoreError


@dataclass(frozen=True)
class Corrections:
    """A file of JSON lines, each with ``text`` and ``route``; of several about one text the last counts."""

    path: Path

    def add(self, text: str, route: str) -> None:
        """Add a line, on the disk before this returns.

        Raises:
            StoreError: the file cannot be written.
        """
        line = json.dumps({"text": text, "route": route}, ensure_ascii=False) + "\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as file:
                if file.tell() and not self._ends_in_newline():
                    line = "\n" + line  # what a killed process left half-written stays a line of its own
                file.write(line.encode("utf-8", "surrogatepass"))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._unusable("written", error) from error

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Yield texts with their routes, in the order of the corrections; lines that are none are passed over."""
        latest: dict[str, str] = {}
        for number, line in enumerate(self._lines(), start=1):
            try:
                fields = json.loads(line)
                text, route = fields["text"].strip(), fields["route"]
            except (ValueError, KeyError, TypeError, AttributeError):
                warnings.warn(f"{self.path}, line {number}, is no correction and is passed over", stacklevel=2)
                continue
            if text and isinstance(route, str):
                latest[text] = route
        yield from latest.items()

    def _lines(self) -> list[bytes]:
        try:
            return [line for line in self.path.read_bytes().splitlines() if line.strip()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._unusable("read", error) from error

    def _unusable(self, done: str, error: OSError) -> StoreError:
        return StoreError(f"{self.path} cannot be {done}: {error.strerror or error}; name another data folder")

    def _ends_in_newline(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
