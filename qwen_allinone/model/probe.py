"""Decisions in both languages by which a model in other numbers is compared with itself."""

from typing import TYPE_CHECKING, get_args

from qwen_allinone.errors import QwenAllInOneError
from qwen_allinone.model.decision import Decision
from qwen_allinone.model.language import Language
from qwen_allinone.model.prompt_file import PromptFile
from qwen_allinone.model.questions import Choice, Noul, Question

if TYPE_CHECKING:
    from qwen_allinone.model.shared import SharedQwen

_PROBE = PromptFile.load("qwen_allinone.model", "probe")


def answers(qwen: "SharedQwen") -> list[Decision]:
    """What a model decides about every text of the probe, in a fixed order.

    Raises:
        QwenAllInOneError: the model cannot read the probe.
    """
    asked = [
        (str(text), questions)
        for language, questions in ((language, _questions(language)) for language in get_args(Language))
        for text in _PROBE.entry(language, "texts")
    ]
    decisions: list[Decision] = []
    for found in qwen.decide_all(asked):
        if isinstance(found, QwenAllInOneError):
            raise found
        decisions += found.values()
    return decisions


def _questions(language: Language) -> dict[str, Question]:
    return {
        name: Noul(instructions=asked)
        if isinstance(asked, str)
        else Choice(instructions=asked["ask"], criteria=dict.fromkeys(sorted(asked["options"])))
        for name, asked in _PROBE.entry(language, "questions").items()
    }
