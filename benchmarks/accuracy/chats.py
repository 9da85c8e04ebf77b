"""Replies: in the right language, whole, different from each other, and with what was remembered."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.accuracy import sets
from benchmarks.accuracy.figure import Figure, Target
from benchmarks.accuracy.training_rows import written_sources
from qwen_allinone.eval.metrics import Proportion
from qwen_allinone.model import SharedQwen
from qwen_allinone.model.language import language_of
from qwen_allinone.tools import ChatTool, Sentiment, SentimentTool

_RUN, _TIMES = 3, 3
_LAST_TOKENS = 4
"""A reply so near to the limit was cut: the tokens of its text may be a few less than those that were written."""
_EVERY = 5
"""Each so many prompts, one belongs to the sample of the model card."""


@dataclass(frozen=True)
class Exchange:
    """A prompt and what the model replied."""

    prompt: str
    language: str
    reply: str
    soothed: bool
    """Whether the mood of the prompt made the reply comfort first."""
    memory: str | None = None
    expected: tuple[str, ...] = ()
    """Words of which one shows that the memory was used; empty: nothing is expected."""

    @property
    def in_language(self) -> bool:
        """Whether the reply is in the language of the prompt."""
        return language_of(self.reply) == self.language

    @property
    def remembered(self) -> bool:
        """Whether an expected word occurs in the reply."""
        return any(words.casefold() in self.reply.casefold() for words in self.expected)


def exchanges(qwen: SharedQwen) -> list[Exchange]:
    """The set of prompts with the replies of the chat tool, as the assistant calls it."""
    tool = ChatTool(qwen=qwen)
    found = []
    for fields in sets.records("chats"):
        text, memory = fields["text"], fields["memory"]
        upset = Sentiment.of(**qwen.decide(text, SentimentTool.questions(text))).upset
        reply = tool.invoke({"text": text, "memories": [memory] if memory else [], "soothe": upset})
        found.append(Exchange(text, fields["language"], reply, upset, memory, tuple(fields["expect"] or ())))
    return found


def figures(qwen: SharedQwen, found: Sequence[Exchange]) -> list[Figure]:
    """What can be counted about replies; whether they fit is for a person to judge."""
    known, replies = training_replies(), [each.reply for each in found]
    remembering = [each.remembered for each in found if each.expected]
    return [
        _share("reply in the language of the prompt", (each.in_language for each in found), Target(0.98)),
        Figure.of("replies that differ", Proportion(len(set(replies)), len(replies)), target=Target(0.60)),
        _share("reply broken, repeating or cut", (is_broken(qwen, reply) for reply in replies), Target(0, "at most")),
        _share("memory used where expected", remembering, Target(0.80)),
        _share("reply copied from the training", (bare(reply) in known for reply in replies)),
    ]


def is_broken(qwen: SharedQwen, reply: str) -> bool:
    """Whether a reply is empty, holds half a character or a control token, repeats itself, or never ended."""
    ids = qwen.chat.encode(reply)
    marks = ("\ufffd", *qwen.tokenizer.get_added_vocab())
    return (
        not ids
        or any(mark in reply for mark in marks)
        or repeats(ids)
        or len(ids) > ChatTool.model_fields["max_new_tokens"].default - _LAST_TOKENS
    )


def repeats(ids: Sequence[int]) -> bool:
    """Whether the same run of three tokens occurs three times without overlap."""
    places: dict[tuple[int, ...], list[int]] = {}
    for start in range(len(ids) - _RUN + 1):
        found = places.setdefault(tuple(ids[start : start + _RUN]), [])
        if not found or start >= found[-1] + _RUN:
            found.append(start)
    return any(len(found) >= _TIMES for found in places.values())


def training_replies() -> set[str]:
    """Every reply that was trained on."""
    return {bare(item.reply) for source in written_sources() for item in source.items if item.reply}


def bare(reply: str) -> str:
    """A reply without case and white space."""
    return re.sub(r"\s", "", reply).casefold()


def page(found: Sequence[Exchange], model: str) -> str:
    """All prompts with their replies, for a person to judge; the sample of the model card is marked."""
    lines = [
        f"# Replies of {model}",
        "",
        f"Greedy, by the chat tool. Every {_EVERY}th, marked *, is the sample of the model card.",
        "",
        "| | prompt | remembered | comfort first | reply |",
        "|---|---|---|---|---|",
    ]
    for number, each in enumerate(found, start=1):
        mark = " *" if number % _EVERY == 0 else ""
        cells = (each.prompt, each.memory or "", "yes" if each.soothed else "", each.reply)
        lines.append(f"| {number}{mark} | {' | '.join(map(_cell, cells))} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _share(what: str, hits: Iterable[bool], target: Target | None = None) -> Figure:
    found = list(hits)
    return Figure.of(what, Proportion(sum(found), len(found)), target=target)
