"""Keywords: spans that stand literally in a text, ranked by the shared model."""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from pydantic import Field

from qwen_allinone.errors import EmptyTextError
from qwen_allinone.model import Noul
from qwen_allinone.model.prompt.language import language_of
from qwen_allinone.model.prompt.prompt_file import PromptFile
from qwen_allinone.tools.base import QwenTool, Result, TextInput

BATCH_SIZE = 24
"""Words that are asked about in one pass."""
MAX_CANDIDATES = 96
MAX_WORD_LENGTH = 40
"""Longest word in characters; what is longer is data, not a word."""
_PROMPT = PromptFile.load("qwen_allinone.tools", "keywords")
_WORD = re.compile(
    r"(?P<han>[\u3400-\u9fff]+)"
    r"|(?<![A-Za-z0-9_])[^\W\d_\u3400-\u9fff](?:['’-]?(?![\u3400-\u9fff])[\w+#])+"
)
"""A run of Han characters, or a word of letters: no single ones, no numbers."""


class KeywordsInput(TextInput):
    """A text and how many keywords are wanted."""

    k: int = Field(default=5, ge=1, le=50, description="The most keywords to give.")


class Keyword(Result):
    """A span of the text."""

    text: str
    start: int
    """Character offset of its first occurrence."""
    probability: float
    """Probability that it is a keyword, as the model sees it."""


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
        if not text.strip():
            raise EmptyTextError("the text is empty; give at least one character that is not white space")
        starts = _candidates(text)
        spans = list(starts)
        language = language_of(text)
        scores: dict[str, float] = {}
        for start in range(0, len(spans), BATCH_SIZE):
            questions = {
                span: Noul(instructions=_PROMPT.render(language, "keyword", keyword=span))
                for span in spans[start : start + BATCH_SIZE]
            }
            decisions = self.qwen.decide(text, questions)
            scores |= {span: decision.probabilities["yes"] for span, decision in decisions.items()}
        best = sorted(scores, key=lambda span: -scores[span])[:k]
        return Keywords(
            keywords=tuple(Keyword(text=span, start=starts[span], probability=scores[span]) for span in best)
        )


def _candidates(text: str) -> dict[str, int]:
    """Return the distinct words of a text in their order, each with its first offset; stop words are left out."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    starts: dict[str, int] = {}
    for word, start in _words(text):
        if word.lower() not in ENGLISH_STOP_WORDS and len(word) <= MAX_WORD_LENGTH:
            starts.setdefault(word, start)
    return dict(islice(starts.items(), MAX_CANDIDATES))


def _words(text: str) -> Iterator[tuple[str, int]]:
    """Yield every word with its offset; runs of Han characters are cut into words by a dictionary."""
    import rjieba

    for found in _WORD.finditer(text):
        if found["han"] is None:
            yield found[0], found.start()
            continue
        for word, start, _ in rjieba.tokenize(found[0]):
            if len(word) > 1:
                yield word, found.start() + start
