"""Keywords: spans that stand literally in a text, ranked by the shared model."""

import re
from typing import Any

from pydantic import Field

from qwen_allinone.model import Noul
from qwen_allinone.model.language import language_of
from qwen_allinone.model.prompt_file import PromptFile
from qwen_allinone.tools.tool import QwenTool, Result, TextInput

_PROMPT = PromptFile.load("qwen_allinone.tools", "keywords")
_AT_ONCE = 24
_MOST_CANDIDATES = 96
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9'+#-]+")
_HAN_WORD = re.compile(r"[\u3400-\u9fff]{2,}")


class KeywordsInput(TextInput):
    """A text and how many keywords are wanted."""

    k: int = Field(default=5, ge=1, le=50, description="The most keywords to give.")


class Keyword(Result):
    """A span of the text."""

    text: str
    start: int
    """Character offset of its first occurrence."""
    probability: float
    """That it is a keyword, in the model's judgement."""


class Keywords(Result):
    """The best spans first."""

    keywords: tuple[Keyword, ...]

    def __str__(self) -> str:
        return ", ".join(keyword.text for keyword in self.keywords)


class KeywordsTool(QwenTool):
    """Ranks the words of a text by whether they are its keywords."""

    name: str = "keywords"
    description: str = "Give up to k keywords that stand literally in a text."
    args_schema: Any = KeywordsInput

    def _run(self, text: str, k: int = 5) -> Keywords:
        spans = _candidates(text)
        language = language_of(text)
        scores: dict[str, float] = {}
        for start in range(0, len(spans), _AT_ONCE):
            questions = {
                span: Noul(instructions=_PROMPT.render(language, "keyword", span=span))
                for span in spans[start : start + _AT_ONCE]
            }
            decisions = self.qwen.decide(text, questions)
            scores |= {span: decision.probabilities["yes"] for span, decision in decisions.items()}
        best = sorted(scores, key=lambda span: -scores[span])[:k]
        return Keywords(
            keywords=tuple(Keyword(text=span, start=text.index(span), probability=scores[span]) for span in best)
        )


def _candidates(text: str) -> list[str]:
    """Distinct words of the text, in their order: no stop words, no single characters, no numbers."""
    import rjieba
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    words = [
        word
        for word in rjieba.cut(text)
        if _HAN_WORD.fullmatch(word) or (_WORD.fullmatch(word) and word.lower() not in ENGLISH_STOP_WORDS)
    ]
    return list(dict.fromkeys(words))[:_MOST_CANDIDATES]
