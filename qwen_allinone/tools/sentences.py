"""Sentences of a text, in both languages, and their scores by the shared model."""

import re
from collections.abc import Iterator, Sequence

from qwen_allinone.model import Noul, SharedQwen
from qwen_allinone.model.prompt.language import language_of
from qwen_allinone.model.prompt.prompt_file import PromptFile

BATCH_SIZE = 16
"""Sentences that are asked about in one pass."""
_MARKS = re.compile(r"""[。！？；!?;.\n]+[”’」』）】》)\]]*(?:["'](?=\W|$))?""")
_ABBREVIATION = re.compile(r"(?:^\s*\d+|\b(?:[a-hj-z]|e\.g|i\.e|vs|cf|al|approx|mr|mrs|ms|dr|prof|st))$", re.IGNORECASE)


def split_sentences(text: str) -> list[str]:
    """Return the sentences in their order, with their closing marks, without surrounding white space.

    Only white space between sentences is lost. Dots in numbers and after common abbreviations end no sentence.
    """
    sentences, start = [], 0
    for marks in _MARKS.finditer(text):
        if _ends(text[start : marks.start()], marks[0], text[marks.end() : marks.end() + 1]):
            sentences.append(text[start : marks.end()].strip())
            start = marks.end()
    return [sentence for sentence in (*sentences, text[start:].strip()) if sentence]


def _ends(before: str, marks: str, after: str) -> bool:
    """Return True if these marks end a sentence, by what stands before and after them."""
    if not before.strip():
        return False
    if set(marks) & set("。！？；\n"):
        return True
    if set(marks) & set("!?;"):
        return not after or after.isspace() or not after.isascii()
    return (not after or after.isspace()) and (len(marks) > 1 or not _ABBREVIATION.search(before))


def sentence_scores(qwen: SharedQwen, text: str, sentences: Sequence[str], prompt: PromptFile) -> Iterator[float]:
    """Yield the probability of yes to the prompt's question about each sentence, from one reading of the text."""
    language = language_of(text)
    for start in range(0, len(sentences), BATCH_SIZE):
        questions = {
            str(index): Noul(instructions=prompt.render(language, "sentence", sentence=qwen.truncate(sentence).text))
            for index, sentence in enumerate(sentences[start : start + BATCH_SIZE])
        }
        yield from (decision.probabilities["yes"] for decision in qwen.decide(text, questions).values())
