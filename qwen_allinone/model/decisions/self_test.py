"""Texts and questions by which a model in another precision is compared with itself."""

from typing import get_args

from qwen_allinone.model.decisions.questions import Choice, Noul, Question
from qwen_allinone.model.prompt.language import Language
from qwen_allinone.model.prompt.prompt_file import PromptFile

_SELF_TEST = PromptFile.load("qwen_allinone.model", "self_test")


def self_test() -> list[tuple[str, dict[str, Question]]]:
    """Return texts in both languages, each with its questions, in a fixed order."""
    cases = []
    for language in get_args(Language):
        questions = _questions(language)
        cases += [(str(text), questions) for text in _SELF_TEST.entry(language, "texts")]
    return cases


def learned_questions() -> list[Choice]:
    """Return a question in each language with examples, which are decided out of fold."""
    found = []
    for language in get_args(Language):
        aims = _SELF_TEST.entry(language, "aims")
        asked = _SELF_TEST.entry(language, "questions")["aim"]["ask"]
        found.append(Choice(instructions=asked, criteria=dict.fromkeys(aims), examples=aims))
    return found


def _questions(language: Language) -> dict[str, Question]:
    questions: dict[str, Question] = {}
    for name, asked in _SELF_TEST.entry(language, "questions").items():
        if isinstance(asked, str):
            questions[name] = Noul(instructions=asked)
        else:
            questions[name] = Choice(instructions=asked["ask"], criteria=dict.fromkeys(sorted(asked["options"])))
    return questions
