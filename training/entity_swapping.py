"""Entity swapping: a memory's words are exchanged, so that a reply can only copy them from where they stand."""

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from difflib import SequenceMatcher

from qwen_allinone.model.language import Language
from training.sources import Item

_SWAPPED = 0.6
"""Share of the memories that get other words than were written."""
_FEWEST: dict[Language, int] = {"zh": 2, "en": 3}
"""Characters that an entity has at least."""
_MOST_HAN = 3
"""Characters that a Chinese entity has at most, as there are no spaces to end it."""


class EntitySwapper:
    """Swaps the entities that replies copy from their memories.

    Args:
        items: whose entities are lent to the others.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        self._lent: dict[Language, list[str]] = {"zh": [], "en": []}
        for item in items:
            if entity := copied_entity(item):
                self._lent[item.language].append(entity)

    def swap(self, item: Item, rng: random.Random) -> Item:
        """Return the exchange, at times with another item's entity in its memory and its reply."""
        entity = copied_entity(item)
        if not entity or rng.random() >= _SWAPPED:
            return item
        other = rng.choice(self._lent[item.language] or [entity])
        whole = rf"\b{re.escape(entity)}\b" if item.language == "en" else re.escape(entity)
        memory, reply = (re.sub(whole, lambda _: other, text) for text in (item.memory, item.reply or ""))
        return replace(item, memory=memory, reply=reply)


def copied_entity(item: Item) -> str:
    """Return the last word, in Chinese some characters, that memory and reply share and the text does not say."""
    if not item.memory or not item.reply:
        return ""
    if item.language == "en":
        run = _longest_run(re.findall(r"\w+|\W+", item.memory), re.findall(r"\w+|\W+", item.reply))
        entity = next((word for word in reversed(run) if word.isalnum()), "")
    else:
        run = _longest_run(item.memory, item.reply)
        entity = "".join(run[-_MOST_HAN:])
    fresh = entity.casefold() not in item.text.casefold()
    return entity if len(entity) >= _FEWEST[item.language] and fresh else ""


def _longest_run(memory: Sequence[str], reply: Sequence[str]) -> Sequence[str]:
    """Return the longest run that stands in both."""
    found = SequenceMatcher(None, memory, reply, autojunk=False).find_longest_match()
    return memory[found.a : found.a + found.size]
