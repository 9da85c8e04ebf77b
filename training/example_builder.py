"""From a labelled text to what the model sees: the toolkit's prompts and paraphrases of them, with their answers."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from qwen_allinone.model.branches import Branch
from qwen_allinone.model.chatml import ChatML, Message
from qwen_allinone.model.language import Language, language_of
from qwen_allinone.model.questions import Question, render_question
from qwen_allinone.tools import ChatTool
from training.augmentation import augmented
from training.entity_swapping import EntitySwapper
from training.prompts import BLANKS, PERSONA
from training.questions import Answer, Asked, questions_about
from training.sources import Item

_MOST_QUESTIONS = 3
_LEFT_OUT = 0.15
"""Share of the tokens left out of every third text that is only asked about, so that no word is relied on."""
_SMOOTHING = 0.04
"""Share of every answer that is spread over all options, so that no probability runs to one."""
_BLANK = 0.06
"""Share of the examples with a text that says nothing in place of the item's, for which all options are equal."""


@dataclass(frozen=True)
class Example:
    """One text with its branches."""

    prefix: tuple[int, ...]
    branches: tuple[Branch, ...]
    answers: tuple[tuple[float, ...], ...]
    """Per branch, per leaf: its share. A branch with a single leaf teaches the leaf's words (a reply)."""

    @property
    def length(self) -> int:
        """Tokens of its row."""
        return len(self.prefix) + sum(map(_tokens, self.branches))


class ExampleBuilder:
    """Draws examples; each time a text comes round, its questions are worded, ordered and chosen anew.

    Args:
        chat: encodes.
        items: everything that may be taught; memories and labels of other items are put beside an item's own.
        text_tokens: the longest text.
    """

    def __init__(self, chat: ChatML, items: Sequence[Item], *, text_tokens: int) -> None:
        self._chat = chat
        self._replies = [item for item in items if item.reply is not None]
        self._swapper = EntitySwapper(self._replies)
        self._labels = _labels_by_language(items)
        self._text_tokens = text_tokens

    def example(
        self,
        item: Item,
        rng: random.Random,
        *,
        bare: float = 0.25,
        asked: float = 1.0,
        own_routes: float = 0.2,
        cut: float = 0.07,
    ) -> Example | None:
        """Build the text with some of its questions; None if nothing can be asked of it.

        Args:
            item: the text and what is known about it.
            rng: draws everything.
            bare: share of the questions in their shortest form, which teaches most per token.
            asked: share of the texts with a reply that are asked about as well.
            own_routes: share of the labels that are asked for as a route.
            cut: share of the characters of every second text before which it is cut and encoded apart.
        """
        language = item.language if rng.random() < 0.95 else rng.choice(("zh", "en"))
        item = self._swapper.swap(item, rng)
        branches: list[Branch] = []
        answers: list[tuple[float, ...]] = []
        for question, answer in self._questions(item, language, rng, bare=bare, asked=asked, own_routes=own_routes):
            branch, shares = self._decision(question, answer, language, rng)
            branches.append(branch)
            answers.append(shares)
        persona = rng.random() > 0.08 + bare / 2
        if branches and rng.random() < _BLANK:
            turn = self._turns([], language, persona=persona)
            blank = self._user_turn(rng.choice(BLANKS[language]), rng, cut=cut)
            return Example((*turn, *blank), tuple(branches), tuple(map(_undecided, answers)))
        if item.reply is not None:
            branches.append(self._reply(item, language, rng))
            answers.append((1.0,))
        if not branches:
            return None
        prefix = self._prefix(item, language, rng, persona=persona, cut=cut)
        return Example(tuple(prefix), tuple(branches), tuple(answers))

    def _questions(
        self, item: Item, language: Language, rng: random.Random, *, bare: float, asked: float, own_routes: float
    ) -> list[Asked]:
        questions: list[Asked] = []
        if item.reply is None or rng.random() < asked:
            labels = self._labels[language]
            questions = questions_about(item, language, rng, bare=bare, own_routes=own_routes, labels=labels)
        rng.shuffle(questions)
        return questions[:_MOST_QUESTIONS]

    def _decision(
        self, question: Question, answer: Answer, language: Language, rng: random.Random
    ) -> tuple[Branch, tuple[float, ...]]:
        """Return the question with its options for leaves, and the share of each in the answer."""
        rendered = render_question(question, language, order=_order(question, rng))
        leaves = [(*self._chat.encode(words), self._chat.end_of_turn) for words in rendered.options.values()]
        shares = [answer.get(option, 0.0) for option in rendered.options]
        smoothed = tuple((1 - _SMOOTHING) * share + _SMOOTHING / len(shares) for share in shares)
        return Branch(self._stem(rendered.text), tuple(leaves)), smoothed

    def _prefix(self, item: Item, language: Language, rng: random.Random, *, persona: bool, cut: float) -> list[int]:
        history: list[Message] = []
        if item.reply is not None and rng.random() < 0.15:
            before = rng.choice(self._replies)
            history = [Message("user", before.text), Message("assistant", before.reply or "")]
        left_out = not (item.reply or item.sentences or item.spans or item.questions)
        turn = self._user_turn(augmented(item, rng), rng, cut=cut, left_out=left_out)
        return [*self._turns(history, language, persona=persona), *turn]

    def _turns(self, history: Sequence[Message], language: Language, *, persona: bool) -> list[int]:
        who = [Message("system", PERSONA.render(language, "persona"))] if persona else []
        return self._chat.turns([*who, *history])

    def _user_turn(self, text: str, rng: random.Random, *, cut: float, left_out: bool = False) -> list[int]:
        body = self._pieces(text, rng, cut=cut if rng.random() < 0.5 else 0.0)
        if left_out and rng.random() < 1 / 3:
            body = [index for index in body if rng.random() >= _LEFT_OUT] or body
        if len(body) > self._text_tokens:  # as SharedQwen.excerpt does
            half = self._text_tokens // 2
            body = [*body[:half], *self._chat.encode(" … "), *body[-half:]]
        empty = self._chat.turn(Message("user", ""))
        end = empty.index(self._chat.end_of_turn)
        return [*empty[:end], *body, *empty[end:]]

    def _pieces(self, text: str, rng: random.Random, *, cut: float) -> list[int]:
        """Encode the text in pieces, so that a word is known by its parts as well.

        After BPE dropout (Provilkov et al., 2020, arXiv:1910.13267).
        """
        pieces = [""]
        for character in text:
            if pieces[-1] and rng.random() < cut:
                pieces.append("")
            pieces[-1] += character
        body: list[int] = []
        for piece in pieces:
            body += self._chat.encode(piece)
        return body

    def _stem(self, words: str) -> tuple[int, ...]:
        return (*self._chat.turn(Message("system", words)), *self._chat.opening())

    def _reply(self, item: Item, language: Language, rng: random.Random) -> Branch:
        soothe = item.mood == "negative" and rng.random() < 0.8
        memories = [item.memory] if item.memory else []
        if item.memory or rng.random() < 0.15:
            others = [each.memory for each in rng.sample(self._replies, min(8, len(self._replies))) if each.memory]
            memories += [memory for memory in others if memory[:4] != item.memory[:4]][: rng.choice((0, 1, 2))]
            rng.shuffle(memories)
        notes = ChatTool.notes(language, memories=memories, soothe=soothe)
        stem = self._stem(notes) if notes else tuple(self._chat.opening())
        return Branch(stem, ((*self._chat.encode(item.reply or ""), self._chat.end_of_turn),))


def _labels_by_language(items: Sequence[Item]) -> dict[Language, list[tuple[str, str]]]:
    """Return every label with its meaning, each once."""
    meanings: dict[str, str] = {}
    for item in items:
        meanings |= item.meanings
    labels: dict[Language, list[tuple[str, str]]] = {language: [] for language in get_args(Language)}
    for label, meaning in meanings.items():
        labels[language_of(label)].append((label, meaning))
    return labels


def _order(question: Question, rng: random.Random) -> list[int] | None:
    """Draw the order of a choice's options: often any, so that no place is better than another."""
    if question.type != "choice":
        return None
    labels = list(question.criteria)
    if rng.random() < 0.6:
        return rng.sample(range(len(labels)), len(labels))
    return sorted(range(len(labels)), key=labels.__getitem__)


def _tokens(branch: Branch) -> int:
    """Return the tokens of a branch in its row; the last of a leaf is only predicted."""
    return len(branch.stem) + sum(len(leaf) - 1 for leaf in branch.leaves)


def _undecided(shares: Sequence[float]) -> tuple[float, ...]:
    return (1 / len(shares),) * len(shares)
