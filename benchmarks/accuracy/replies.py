"""Replies: in the right language, whole, different from each other, and with what was remembered."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.accuracy.cases import records
from benchmarks.accuracy.figure import Figure, Target
from benchmarks.accuracy.ngrams import bare
from qwen_allinone.eval.metrics import Proportion
from qwen_allinone.model import SharedQwen
from qwen_allinone.model.language import language_of
from qwen_allinone.tools import ChatTool, Sentiment, SentimentTool

_RUN, _TIMES = 3, 3
_LAST_TOKENS = 4
"""A reply so near to the limit was cut: the tokens of its text may be a few less than those that were written."""
_EVERY = 5
"""Every fifth prompt belongs to the sample of the model card."""


@dataclass(frozen=True)
class Exchange:
    """A prompt with the model's reply."""

    prompt: str
    language: str
    reply: str
    soothed: bool
    """True if the mood of the prompt made the reply comfort first."""
    memory: str | None = None
    expected: tuple[str, ...] = ()
    """Words of which one shows that the memory was used; empty: nothing is expected."""

    @property
    def in_language(self) -> bool:
        """True if the reply is in the language of the prompt."""
        return language_of(self.reply) == self.language

    @property
    def remembered(self) -> bool:
        """True if an expected word occurs in the reply."""
        return any(words.casefold() in self.reply.casefold() for words in self.expected)


def exchanges(qwen: SharedQwen) -> list[Exchange]:
    """Return the prompts with the replies of the chat tool, called as the assistant calls it."""
    tool = ChatTool(qwen=qwen)
    found = []
    for fields in records("chats"):
        text, memory = fields["text"], fields["memory"]
        upset = Sentiment.of(**qwen.decide(text, SentimentTool.questions(text))).upset
        reply = tool.invoke({"text": text, "memories": [memory] if memory else [], "soothe": upset})
        found.append(Exchange(text, fields["language"], reply, upset, memory, tuple(fields["expect"] or ())))
    return found


def figures(qwen: SharedQwen, found: Sequence[Exchange], learned: Collection[str]) -> list[Figure]:
    """Count what needs no person to judge.

    Args:
        qwen: the model that replied.
        found: its replies.
        learned: replies that it learned, without case and white space.
    """
    replies = [each.reply for each in found]
    remembering = [each.remembered for each in found if each.expected]
    return [
        _share("reply in the language of the prompt", (each.in_language for each in found), Target(0.98)),
        Figure.from_share("replies that differ", Proportion(len(set(replies)), len(replies)), target=Target(0.60)),
        _share("reply broken, repeating or cut", (is_broken(qwen, reply) for reply in replies), Target(0, "at most")),
        _share("memory used where expected", remembering, Target(0.80)),
        _share("reply copied from the training", (bare(reply) in learned for reply in replies)),
    ]


def is_broken(qwen: SharedQwen, reply: str) -> bool:
    """Return true if a reply is empty, holds half a character or a control token, repeats itself, or never ended."""
    ids = qwen.chat.encode(reply)
    marks = ("\ufffd", *qwen.tokenizer.get_added_vocab())
    return (
        not ids
        or any(mark in reply for mark in marks)
        or repeats(ids)
        or len(ids) > ChatTool.model_fields["max_new_tokens"].default - _LAST_TOKENS
    )


def repeats(ids: Sequence[int]) -> bool:
    """Return true if the same run of three tokens occurs three times without overlap."""
    places: dict[tuple[int, ...], list[int]] = {}
    for start in range(len(ids) - _RUN + 1):
        found = places.setdefault(tuple(ids[start : start + _RUN]), [])
        if not found or start >= found[-1] + _RUN:
            found.append(start)
    return any(len(found) >= _TIMES for found in places.values())


def page(found: Sequence[Exchange], model: str) -> str:
    """Return all prompts with their replies, for a person to judge; the sample of the model card is marked."""
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
    return Figure.from_share(what, Proportion(sum(found), len(found)), target=target)
