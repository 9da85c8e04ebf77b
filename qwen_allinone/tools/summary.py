"""Summary: written by a model that writes well, else sentences of the text: the most telling ones, or the first."""

import re
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from qwen_allinone.errors import EmptyTextError
from qwen_allinone.model.prompt.language import language_of
from qwen_allinone.model.prompt.prompt_file import PromptFile
from qwen_allinone.tools.base import QwenTool, Result, TextInput
from qwen_allinone.tools.passages import split_for_reading
from qwen_allinone.tools.sentences import sentence_scores, split_sentences

_PROMPT = PromptFile.load("qwen_allinone.tools", "summary")
_REQUEST = re.compile(r"^[^:：。.!?！？\n]{1,40}(?<!\d)[:：](?!//)\s*(?=\S)")


class Summary(Result):
    """The gist of a text."""

    text: str
    method: Literal["written", "extractive", "leading"]
    """Origin: the model wrote it, picked it from the text, or the text begins with it."""

    def __str__(self) -> str:
        return self.text


class SummaryTool(QwenTool):
    """Shortens a text of any length, by map and reduce where it exceeds what the model reads at once."""

    name: str = "summary"
    description: str = "Give the gist of a text in one or two sentences."
    args_schema: Any = TextInput
    max_sentences: int = Field(default=2, ge=1)
    max_new_tokens: int = 160

    def _run(self, text: str) -> Summary:
        passage = _REQUEST.sub("", text.strip(), count=1)
        if not passage:
            raise EmptyTextError("the text to summarise is empty; give at least one sentence")
        if self.qwen.capabilities.summary == "written" and (written := self._written(passage)):
            return Summary(text=written, method="written")
        if self.qwen.capabilities.summary == "leading":
            return Summary(text=_joined(split_sentences(passage)[: self.max_sentences]), method="leading")
        return Summary(text=_joined(self._extract(passage)), method="extractive")

    def _written(self, text: str) -> str:
        """Summarise piece by piece, then the summaries, until one is left or they shrink no more."""
        pieces = split_for_reading(self.qwen, text)
        context = _PROMPT.render(language_of(text), "write")
        summaries = [
            self.qwen.generate(piece, context=context, max_new_tokens=self.max_new_tokens).text.strip()
            for piece in pieces
        ]
        joined = "\n".join(filter(None, summaries))
        shrank = 0 < len(joined) < len(text)
        return summaries[0] if len(pieces) == 1 else self._written(joined) if shrank else joined

    def _extract(self, text: str) -> list[str]:
        """Pick sentences of each piece, then among those, until they can be read at once."""
        pieces = split_for_reading(self.qwen, text)
        if len(pieces) == 1:
            return self._best(text, self.max_sentences)
        each = -(-self.max_sentences // len(pieces))  # rounded up
        kept: list[str] = []
        for piece in pieces:
            kept += self._best(piece, each)
        shorter = "\n".join(kept)
        return self._extract(shorter) if len(shorter) < len(text) else kept[: self.max_sentences]

    def _best(self, text: str, count: int) -> list[str]:
        """Return the sentences most surely carrying the gist, in the text's own order."""
        sentences = split_sentences(text)
        if len(sentences) <= count:
            return sentences
        scores = list(sentence_scores(self.qwen, text, sentences, _PROMPT))
        best = sorted(range(len(sentences)), key=lambda index: -scores[index])[:count]
        return [sentences[index] for index in sorted(best)]


def _joined(sentences: Sequence[str]) -> str:
    """Join sentences into one line; full-width marks need no space behind them."""
    spaced = (sentence if sentence[-1] in "。！？；”’」』）】》" else f"{sentence} " for sentence in sentences)
    return "".join(spaced).rstrip()
