"""Remembered words that answer a question by themselves."""

import re
from collections.abc import Iterable

_OF_THEMSELVES = re.compile(r"[我咱俺]|\b(?:i|my|me|mine|we|our|us|ours)\b", re.IGNORECASE)
_QUESTION = re.compile(
    r"[?？]|[吗呢么][。.!！~\s]*$|^\s*(?:who|what|when|where|which|how|why|do|does|did|can|could|will|would|is|are)\b",
    re.IGNORECASE,
)
_ASKING_WORD = re.compile(r"什么|啥|哪|几|谁|怎|多少|\b(?:who|what|when|where|which|how|why)\b", re.IGNORECASE)


def memory_that_answers(text: str, memories: Iterable[str]) -> str | None:
    """Return the first memory in which users speak of themselves and ask nothing; None if the text asks nothing."""
    if not (_QUESTION.search(text) or _ASKING_WORD.search(text)):
        return None
    return next((each for each in memories if _OF_THEMSELVES.search(each) and not _QUESTION.search(each)), None)
