"""A route: a named prompt, what it is for, and the Runnable behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from qwen_allinone.errors import PromptFileError
from qwen_allinone.model.prompt.language import Language


class _RouteFile(BaseModel):
    """What a route file may hold."""

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
    description: Mapping[Language, str]
    """In plain words, per language: which inputs belong here."""
    runnable: str
    """Name under which the Runnable behind it is registered."""
    examples: Mapping[Language, Sequence[str]] = field(default_factory=dict)

    def described(self, language: Language) -> str | None:
        """The description in that language, or in the other one where there is only that; None: there is none."""
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
            parsed = _RouteFile.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise PromptFileError(f"route file {path}: {where}: {first['msg']}; see docs/routes.md") from error
        except UnicodeDecodeError as error:
            raise PromptFileError(f"route file {path} is not UTF-8 at byte {error.start}; save it as UTF-8") from error
        except (OSError, yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
            # impossible dates and empty numbers make the parser raise nearly anything
            reason = " ".join(str(error).split())
            raise PromptFileError(f"route file {path} cannot be read: {reason}") from error
        return cls(parsed.name, parsed.description, parsed.runnable, parsed.examples)


def _plain_yaml(text: str) -> object:
    """What a YAML text holds, by the safe loader; anchors, which can blow up a short file, are refused."""
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
        raise yaml.YAMLError("anchors and aliases (&, *) have no place in a route file; write the text out")
    return yaml.safe_load(text)


def routes_in(folder: Path | str) -> list[Route]:
    """The routes of all ``*.yaml`` files in a folder, in the order of their file names.

    Raises:
        PromptFileError: there is no such folder, no file in it, a broken file, or a name twice.
    """
    try:
        place = Path(folder).expanduser()
        paths = sorted(place.glob("*.yaml")) if place.is_dir() else []
    except (OSError, RuntimeError) as error:  # too long a name, no permission, no such user
        raise PromptFileError(f"route folder {folder} cannot be read: {error}") from error
    if not paths:
        raise PromptFileError(f"no route files (*.yaml) in {folder}; name a folder that has some")
    routes = [Route.from_file(path) for path in paths]
    names = [route.name for route in routes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise PromptFileError(f"route folder {folder} has the names {twice} more than once")
    return routes


@cache
def builtin_routes() -> tuple[Route, ...]:
    """The four default routes: sentiment, chat, intent, summary."""
    folder = files("qwen_allinone.router") / "routes"
    return tuple(Route.from_file(folder / f"{name}.yaml") for name in ("sentiment", "chat", "intent", "summary"))
