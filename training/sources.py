"""Labelled texts, by where they come from."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from qwen_allinone.model.language import Language, language_of

Mood = Literal["positive", "negative", "neutral"]


@dataclass(frozen=True)
class Item:
    """One text and everything that is known about it. Unknown fields are None or empty and never asked."""

    text: str
    source: str
    routes: tuple[str, ...] = ()
    mood: Mood | None = None
    grade: int | None = None
    """0: no feeling, 1: some, 2: strong."""
    intent: str | None = None
    intents: Sequence[str] = ()
    """Labels that other texts of the data set have, to draw the other candidates from."""
    meanings: Mapping[str, str] = field(default_factory=dict)
    """Label to its meaning in other words."""
    default_intent: int | None = None
    """Index among the toolkit's default candidates."""
    questions: Sequence[tuple[str, bool]] = ()
    """Yes-or-no questions about the text, with their answers."""
    sentences: Sequence[tuple[str, bool]] = ()
    """Sentences; true for those that carry the gist of the text or, where the text is a question, answer it."""
    spans: Sequence[tuple[str, bool]] = ()
    """Spans of the text; true for its keywords."""
    reply: str | None = None
    memory: str = ""

    @property
    def language(self) -> Language:
        """Language of the text."""
        return language_of(self.text)


@dataclass(frozen=True)
class Source:
    """Items of one origin, with their share of the training."""

    name: str
    share: float
    items: Sequence[Item]

    @property
    def replies(self) -> bool:
        """True if it teaches to reply."""
        return self.items[0].reply is not None


def texts_of(sources: Sequence[Source]) -> Iterator[str]:
    """Yield every text, sentence, label, question and reply, for the tokenizer and the embeddings."""
    for source in sources:
        for item in source.items:
            yield item.text
            if item.reply:
                yield f"{item.memory} {item.reply}"
            if item.intent:
                yield item.intent
            for words, _ in (*item.questions, *item.sentences):
                yield words


def hold_out(sources: Sequence[Source], share: float) -> tuple[list[Source], list[Item]]:
    """Take a share of each source out, chosen by a hash of the text, for validation during training."""
    kept, held = [], []
    for source in sources:
        out = {item.text for item in source.items if random.Random(item.text).random() < share}
        kept.append(replace(source, items=[item for item in source.items if item.text not in out]))
        held += [item for item in source.items if item.text in out]
    return kept, held
