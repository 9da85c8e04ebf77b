"""Packages: versions of those that results depend on, and those that are missing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from platform import python_version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PACKAGES = ("torch", "transformers", "langchain-core", "chromadb", "sentence-transformers")
_SELF = "qwen-allinone"
_DEVELOPMENT = "dev"


@dataclass(frozen=True)
class Missing:
    """A missing piece, and the command that brings it."""

    what: str
    remedy: str
    optional: bool = False
    """True if nothing of the core needs it."""


def versions() -> Mapping[str, str | None]:
    """Return the versions of Python, this package and what its results depend on; None: not installed."""
    from qwen_allinone import __version__

    return {"python": python_version(), _SELF: __version__} | {name: _version(name) for name in PACKAGES}


def missing_packages() -> Iterator[Missing]:
    """Yield what this package's own metadata requires and is not there, or too old."""
    from packaging.requirements import Requirement

    try:
        required = [Requirement(line) for line in requires(_SELF) or ()]
        extras = [extra for extra in metadata(_SELF).get_all("Provides-Extra") or () if extra != _DEVELOPMENT]
    except PackageNotFoundError:
        yield Missing(f"{_SELF} is not installed", "pip install -e .")
        return
    for each in required:
        if _applies(each) and not _satisfied(each):
            yield Missing(f"{each.name} {each.specifier}", f'pip install "{each.name}{each.specifier}"')
    for extra in extras:
        lacking = [each.name for each in required if _only_for(extra, each) and not _satisfied(each)]
        if lacking:
            yield Missing(", ".join(lacking), f'pip install "{_SELF}[{extra}]"', optional=True)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _applies(requirement: "Requirement", extra: str = "") -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _only_for(extra: str, requirement: "Requirement") -> bool:
    return _applies(requirement, extra) and not _applies(requirement)


def _satisfied(requirement: "Requirement") -> bool:
    installed = _version(requirement.name)
    return installed is not None and requirement.specifier.contains(installed, prereleases=True)
