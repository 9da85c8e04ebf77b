"""Memories whose words are exchanged, so that a reply can only take them up from where they stand."""

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from difflib import SequenceMatcher

from qwen_allinone.model.language import Language
from training.sources import Item

_EXCHANGED = 0.6
"""How often the words of a memory are others than those that were written."""
_LEAST: dict[Language, int] = {"zh": 2, "en": 3}
"""Characters of what is taken up."""
_MOST_CHARACTERS = 3
"""The same in Chinese, which has no spaces."""


class Recall:
    """Knows what replies take up from their memories.

    Args:
        items: whose memories lend their words to those of others.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        self._lent: dict[Language, list[str]] = {"zh": [], "en": []}
        for item in items:
            if words := taken_up(item):
                self._lent[item.language].append(words)

    def other_words(self, item: Item, rng: random.Random) -> Item:
        """The same exchange, at times with words of another memory in its memory and its reply."""
        words = taken_up(item)
        if not words or rng.random() >= _EXCHANGED:
            return item
        other = rng.choice(self._lent[item.language] or [words])
        whole = rf"\b{re.escape(words)}\b" if item.language == "en" else re.escape(words)
        memory, reply = (re.sub(whole, lambda _: other, text) for text in (item.memory, item.reply or ""))
        return replace(item, memory=memory, reply=reply)


def taken_up(item: Item) -> str:
    """The last word of what memory and reply share, in Chinese some characters, if the text does not say it as well."""
    if not item.memory or not item.reply:
        return ""
    if item.language == "en":
        run = _longest(re.findall(r"\w+|\W+", item.memory), re.findall(r"\w+|\W+", item.reply))
        words = next((word for word in reversed(run) if word.isalnum()), "")
    else:
        run = _longest(item.memory, item.reply)
        words = "".join(run[-_MOST_CHARACTERS:])
    fresh = words.casefold() not in item.text.casefold()
    return words if len(words) >= _LEAST[item.language] and fresh else ""


def _longest(memory: Sequence[str], reply: Sequence[str]) -> Sequence[str]:
    """Run of both."""
    found = SequenceMatcher(None, memory, reply, autojunk=False).find_longest_match()
    return memory[found.a : found.a + found.size]
