"""A route: a named prompt, what it is for, and the Runnable behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import chain
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from qwen_allinone.errors import PromptFileError
from qwen_allinone.model import Choice
from qwen_allinone.model.prompt.language import Language
from qwen_allinone.model.prompt.prompt_file import PromptFile

SUFFIXES = (".yaml", ".yml")
"""Ends of the names of route files."""
MAX_QUESTIONS = 64
"""Sets of routes whose question is kept."""
_PROMPT = PromptFile.load("qwen_allinone.router", "route")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The safe loader; in C, ten times as fast, where PyYAML was built with it."""


class _RouteFile(BaseModel):
    """Fields of a route file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(min_length=1, max_length=64)
    runnable: str = Field(min_length=1)
    description: dict[Language, str] = Field(min_length=1)
    examples: dict[Language, list[str]] = {}

    @field_validator("name", "runnable")
    @classmethod
    def _one_line(cls, value: str) -> str:
        if value != value.strip() or not value.isprintable():
            raise ValueError("must be one line without surrounding white space")
        return value

    @field_validator("description")
    @classmethod
    def _not_blank(cls, value: dict[Language, str]) -> dict[Language, str]:
        if not all(words.strip() for words in value.values()):
            raise ValueError("must not be blank")
        return value


@dataclass(frozen=True)
class Route:
    """One way to handle an input."""

    name: str
    description: Mapping[Language, str] = field(hash=False)
    """Plain words, per language: which inputs belong here."""
    runnable: str
    """Name under which the Runnable behind it is registered."""
    examples: Mapping[Language, Sequence[str]] = field(default_factory=dict, hash=False, repr=False)
    """Inputs that belong here, per language: what the model learns the route from."""

    def described(self, language: Language) -> str | None:
        """Return the description in that language, or else in the other one; None if there is none."""
        return self.description.get(language, next(iter(self.description.values()), None))

    @classmethod
    def from_file(cls, path: Path | Traversable) -> "Route":
        """Read a YAML route file.

        A description in one language serves for both.

        Raises:
            PromptFileError: the file cannot be read, is not YAML, or has missing or unknown fields.
        """
        try:
            content = _plain_yaml(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise PromptFileError(f"route file {path} is not UTF-8 at byte {error.start}; save it as UTF-8") from error
        except (OSError, yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
            # impossible dates and empty numbers make the parser raise nearly anything
            reason = " ".join(str(error).split())
            raise PromptFileError(f"route file {path} cannot be read: {reason}") from error
        if not isinstance(content, dict):
            state = "is empty" if content is None else "holds no fields"
            raise PromptFileError(
                f"route file {path}: the file {state}; write name, runnable and description; see docs/routes.md"
            )
        try:
            parsed = _RouteFile.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise PromptFileError(f"route file {path}: {where}: {first['msg']}; see docs/routes.md") from error
        return cls(parsed.name, parsed.description, parsed.runnable, parsed.examples)


def _plain_yaml(text: str) -> object:
    """Parse a YAML text by the safe loader; refuse anchors, by which a short file can unfold without end."""
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, _LOADER)):
        raise yaml.YAMLError("anchors and aliases (&, *) have no place in a route file; write the text out")
    return yaml.load(text, _LOADER)


def routes_in(folder: Path | str) -> list[Route]:
    """Read all ``*.yaml`` and ``*.yml`` files of a folder, in the order of their names.

    Raises:
        PromptFileError: there is no such folder, no file in it, a broken file, or a name twice.
    """
    try:
        place = Path(folder).expanduser()
        paths = [path for path in place.iterdir() if path.suffix in SUFFIXES] if place.is_dir() else []
    except (OSError, RuntimeError) as error:  # too long a name, no permission, no such user
        raise PromptFileError(f"route folder {folder} cannot be read: {error}") from error
    if not paths:
        raise PromptFileError(f"no route files (*{', *'.join(SUFFIXES)}) in {folder}; name a folder that has some")
    routes = [Route.from_file(path) for path in sorted(paths)]
    names = [route.name for route in routes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise PromptFileError(f"route folder {folder} has the names {twice} more than once")
    return routes


@cache
def builtin_routes() -> tuple[Route, ...]:
    """Return the four default routes: sentiment, chat, intent, summary."""
    folder = files("qwen_allinone.router") / "routes"
    return tuple(Route.from_file(folder / f"{name}.yaml") for name in ("sentiment", "chat", "intent", "summary"))


@lru_cache(MAX_QUESTIONS)
def route_question(routes: tuple[Route, ...], language: Language) -> Choice:
    """Return the question that picks a route; its options are the names and descriptions of the routes."""
    return Choice(
        instructions=_PROMPT.render(language, "instructions"),
        criteria={route.name: route.described(language) for route in routes},
        # A text is routed alike in both languages, so the examples of both teach.
        examples={route.name: tuple(chain.from_iterable(route.examples.values())) for route in routes},
    )
