"""Questions in both languages by which a model in other numbers is compared with itself."""

from typing import get_args

from qwen_allinone.model.language import Language
from qwen_allinone.model.prompt_file import PromptFile
from qwen_allinone.model.questions import Choice, Noul, Question

_PROBE = PromptFile.load("qwen_allinone.model", "probe")


def probe() -> list[tuple[str, dict[str, Question]]]:
    """Texts, each with its questions, in a fixed order."""
    return [
        (str(text), _questions(language)) for language in get_args(Language) for text in _PROBE.entry(language, "texts")
    ]


def _questions(language: Language) -> dict[str, Question]:
    return {
        name: Noul(instructions=asked)
        if isinstance(asked, str)
        else Choice(instructions=asked["ask"], criteria=dict.fromkeys(sorted(asked["options"])))
        for name, asked in _PROBE.entry(language, "questions").items()
    }
