"""The two languages of the prompts."""

import re
from typing import Literal

Language = Literal["zh", "en"]

_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
_LATIN_WORD = re.compile(r"[A-Za-z]+")


def language_of(text: str) -> Language:
    """Return Chinese if a fifth or more of the text's words are Han characters, English otherwise.

    A Han character counts as one word, a run of Latin letters as one. Text with neither is Chinese.
    """
    han = len(_HAN.findall(text))
    latin = len(_LATIN_WORD.findall(text))
    return "zh" if han * 4 >= latin else "en"
