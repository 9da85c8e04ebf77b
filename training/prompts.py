"""The toolkit's prompts and their paraphrases, as the training words them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml

from qwen_allinone.model.chatml import Role
from qwen_allinone.model.language import Language
from qwen_allinone.model.prompt_file import PromptFile
from qwen_allinone.router.route import shipped_routes

PARAPHRASES: dict[str, dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent / "paraphrases.yaml").read_text(encoding="utf-8")
)
PERSONA = PromptFile.load("qwen_allinone.model", "persona")
ROUTE = PromptFile.load("qwen_allinone.router", "route")
TOOLS = {
    name: PromptFile.load("qwen_allinone.tools", name)
    for name in ("sentiment", "intent", "chat", "summary", "keywords", "knowledge")
}
_QUESTION = PromptFile.load("qwen_allinone.model", "question")

BLANKS: dict[Language, tuple[str, ...]] = {
    "zh": ("N/A", "N/A", "无", "……", "？", "文本"),
    "en": ("N/A", "N/A", "none", "...", "?", "text"),
}
"""Texts that say nothing."""


def prompt_words() -> list[str]:
    """Return every role, wording and label of the prompts and their paraphrases."""
    structures: list[Any] = [get_args(Role), PARAPHRASES, [route.description for route in shipped_routes()]]
    structures += [prompt.sections for prompt in (PERSONA, ROUTE, _QUESTION, *TOOLS.values())]
    structures.append([route.name for route in shipped_routes()])
    return list(_strings(structures))


def option_leanings() -> dict[str, dict[str, float]]:
    """Return the options of the decisions that every turn needs, each with the kinds of text that it says."""
    leanings: dict[str, dict[str, float]] = {route.name: {route.name: 1.0} for route in shipped_routes()}
    for language in ("zh", "en"):
        leanings[TOOLS["sentiment"].entry(language, "positive")] = {"mood": 1.0}
        leanings[TOOLS["sentiment"].entry(language, "negative")] = {"mood": -1.0}
        leanings |= {_QUESTION.entry(language, answer): {} for answer in ("yes", "no")}
    return leanings


def _strings(structure: Any) -> Iterator[str]:
    if isinstance(structure, str):
        yield structure
    elif isinstance(structure, Mapping):
        for key, value in structure.items():
            yield str(key)
            yield from _strings(value)
    elif isinstance(structure, Sequence):
        for value in structure:
            yield from _strings(value)
