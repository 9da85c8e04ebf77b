"""Prompts are files: YAML with one section per language, filled in by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from typing import Any

import yaml

from qwen_allinone.errors import PromptFileError
from qwen_allinone.model.prompt.language import Language


@dataclass(frozen=True)
class PromptFile:
    """One prompt file: for each language a mapping of entry name to text or structure."""

    name: str
    sections: Mapping[str, Mapping[str, Any]]

    @classmethod
    def load(cls, package: str, name: str) -> "PromptFile":
        """Read ``prompts/<name>.yaml`` of a package.

        Raises:
            PromptFileError: the file is missing, is not YAML, or lacks a language.
        """
        resource = files(package) / "prompts" / f"{name}.yaml"
        try:
            sections = yaml.safe_load(resource.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise PromptFileError(f"prompt file {package}/prompts/{name}.yaml cannot be read: {reason}") from error
        languages = sections if isinstance(sections, dict) else {}
        if not all(isinstance(languages.get(language), dict) for language in ("zh", "en")):
            raise PromptFileError(f"prompt file {name}.yaml needs the sections 'zh' and 'en', each with named entries")
        return cls(name=name, sections=sections)

    def entry(self, language: Language, key: str) -> Any:
        """Return the raw entry under a language.

        Raises:
            PromptFileError: there is no such entry.
        """
        try:
            return self.sections[language][key]
        except KeyError:
            have = ", ".join(self.sections[language])
            raise PromptFileError(f"prompt file {self.name}.yaml [{language}] has no {key!r}; it has: {have}") from None

    def render(self, language: Language, key: str, **values: object) -> str:
        """Fill in the ``$names`` of a text entry; what is filled in is never looked into again.

        Raises:
            PromptFileError: a variable is missing or unknown, or a ``$`` begins none.
        """
        template = Template(str(self.entry(language, key)).rstrip("\n"))
        wanted = set(template.get_identifiers())
        if wanted != values.keys():
            missing, unknown = sorted(wanted - values.keys()), sorted(values.keys() - wanted)
            raise PromptFileError(
                f"prompt {self.name}.{key} [{language}]: missing variables {missing}, unknown variables {unknown}"
            )
        try:
            return template.substitute({name: str(value) for name, value in values.items()})
        except ValueError as error:
            raise PromptFileError(
                f"prompt {self.name}.{key} [{language}]: a '$' begins no variable (write '$$' for a dollar sign)"
            ) from error
