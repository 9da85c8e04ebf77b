"""From a labelled text to what the model sees: the toolkit's prompts and paraphrases of them, with their answers."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

import yaml

from qwen_allinone.model.branches import Branch
from qwen_allinone.model.chatml import ChatML, Message, Role
from qwen_allinone.model.language import Language, language_of
from qwen_allinone.model.prompt_file import PromptFile
from qwen_allinone.model.questions import Choice, Noul, Question, Score, render_question
from qwen_allinone.router.route import shipped_routes
from qwen_allinone.tools import ChatTool
from training.recall import Recall
from training.roughening import roughened
from training.sources import Item

_PARAPHRASES: dict[str, dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent / "paraphrases.yaml").read_text(encoding="utf-8")
)
_PERSONA = PromptFile.load("qwen_allinone.model", "persona")
_ROUTE = PromptFile.load("qwen_allinone.router", "route")
_TOOLS = {
    name: PromptFile.load("qwen_allinone.tools", name)
    for name in ("sentiment", "intent", "chat", "summary", "keywords", "knowledge")
}
_MOST_QUESTIONS = 3
_REVIEW = ("sentiment",)
"""Routes of the reviews, which are so many that not all are asked for theirs."""
_LEFT_OUT = 0.15
"""Share of the tokens that are left out of every third text that is only asked about, so that no word is relied on."""
_OTHER_INTENTS = (2, 3, 4, 5, 5, 5, 6, 9)
_SMOOTHING = 0.04
_BLANK = 0.06
"""How often a text that says nothing stands in place of the item's, and no option is better than another."""
_LEVELS = {0: (1.0, 0.0, 0.0, 0.0, 0.0), 1: (0.0, 0.15, 0.5, 0.3, 0.05), 2: (0.0, 0.0, 0.05, 0.3, 0.65)}

_QUESTION = PromptFile.load("qwen_allinone.model", "question")

BLANKS: dict[Language, tuple[str, ...]] = {
    "zh": ("N/A", "N/A", "无", "……", "？", "文本"),
    "en": ("N/A", "N/A", "none", "...", "?", "text"),
}
"""Texts that say nothing."""

Answer = Mapping[str, float]
"""Share of each option in what the model should answer."""


@dataclass(frozen=True)
class Lesson:
    """One text with its branches."""

    prefix: tuple[int, ...]
    branches: tuple[Branch, ...]
    answers: tuple[tuple[float, ...], ...]
    """Per branch, per leaf: its share. A branch with a single leaf teaches the leaf's words (a reply)."""

    @property
    def length(self) -> int:
        """Tokens of its row."""
        branches = sum(len(branch.stem) + sum(len(leaf) - 1 for leaf in branch.leaves) for branch in self.branches)
        return len(self.prefix) + branches


def prompt_words() -> list[str]:
    """Every role, wording and label of the prompts and their paraphrases."""
    structures: list[Any] = [get_args(Role), _PARAPHRASES, [route.description for route in shipped_routes()]]
    structures += [prompt.sections for prompt in (_PERSONA, _ROUTE, _QUESTION, *_TOOLS.values())]
    structures.append([route.name for route in shipped_routes()])
    return [words for structure in structures for words in _strings(structure)]


def option_leanings() -> dict[str, dict[str, float]]:
    """The options of the decisions that every turn needs, and what each says: a mood, a route, yes or no."""
    leanings: dict[str, dict[str, float]] = {route.name: {route.name: 1.0} for route in shipped_routes()}
    for language in ("zh", "en"):
        leanings[_TOOLS["sentiment"].entry(language, "positive")] = {"mood": 1.0}
        leanings[_TOOLS["sentiment"].entry(language, "negative")] = {"mood": -1.0}
        leanings |= {_QUESTION.entry(language, answer): {} for answer in ("yes", "no")}
    return leanings


def _strings(structure: Any) -> Iterator[str]:
    if isinstance(structure, str):
        yield structure
    elif isinstance(structure, Mapping):
        for key, value in structure.items():
            yield str(key)
            yield from _strings(value)
    elif isinstance(structure, Sequence):
        for value in structure:
            yield from _strings(value)


class Teacher:
    """Draws lessons; each time a text comes round, its questions are worded, ordered and chosen anew.

    Args:
        chat: encodes.
        items: everything that may be taught; memories and labels of other items are put beside an item's own.
        text_tokens: the longest text.
    """

    def __init__(self, chat: ChatML, items: Sequence[Item], *, text_tokens: int) -> None:
        self._chat = chat
        self._replies = [item for item in items if item.reply is not None]
        self._recall = Recall(self._replies)
        meanings = {label: meaning for item in items for label, meaning in item.meanings.items()}
        self._labels: dict[Language, list[tuple[str, str]]] = {
            language: [each for each in meanings.items() if language_of(each[0]) == language]
            for language in get_args(Language)
        }
        self._text_tokens = text_tokens

    def lesson(
        self,
        item: Item,
        rng: random.Random,
        *,
        bare: float = 0.25,
        asked: float = 1.0,
        own_routes: float = 0.2,
        cut: float = 0.07,
    ) -> Lesson | None:
        """The text with some of its questions; None if nothing can be asked of it.

        Args:
            item: the text and what is known about it.
            rng: draws everything.
            bare: how often a question comes in its shortest form, which teaches most per token.
            asked: how often a text that has a reply is asked about as well.
            own_routes: how often the label of a text is asked for as a route.
            cut: how often, per character, every second text is cut before it is encoded.
        """
        language = item.language if rng.random() < 0.95 else rng.choice(("zh", "en"))
        item = self._recall.other_words(item, rng)
        questions: list[tuple[Question, Answer]] = []
        if item.reply is None or rng.random() < asked:
            questions = self._questions(item, language, rng, bare=bare, own_routes=own_routes)
        rng.shuffle(questions)
        branches, answers = [], []
        for question, answer in questions[:_MOST_QUESTIONS]:
            order = _order(question, rng)
            rendered = render_question(question, language, order=order)
            leaves = [(*self._chat.encode(words), self._chat.end_of_turn) for words in rendered.options.values()]
            branches.append(Branch(self._stem(rendered.text), tuple(leaves)))
            answers.append(_smoothed([answer.get(option, 0.0) for option in rendered.options]))
        persona = rng.random() > 0.08 + bare / 2
        if branches and rng.random() < _BLANK:
            prefix = [
                *self._turns([], language, persona=persona),
                *self._user_turn(rng.choice(BLANKS[language]), rng, cut=cut),
            ]
            return Lesson(tuple(prefix), tuple(branches), tuple((1 / len(answer),) * len(answer) for answer in answers))
        if item.reply is not None:
            branches.append(self._reply(item, language, rng))
            answers.append((1.0,))
        if not branches:
            return None
        prefix = self._prefix(item, language, rng, persona=persona, cut=cut)
        return Lesson(tuple(prefix), tuple(branches), tuple(answers))

    def _prefix(self, item: Item, language: Language, rng: random.Random, *, persona: bool, cut: float) -> list[int]:
        history: list[Message] = []
        if item.reply is not None and rng.random() < 0.15:
            before = rng.choice(self._replies)
            history = [Message("user", before.text), Message("assistant", before.reply or "")]
        left_out = not (item.reply or item.sentences or item.spans or item.questions)
        turn = self._user_turn(roughened(item, rng), rng, cut=cut, left_out=left_out)
        return [*self._turns(history, language, persona=persona), *turn]

    def _turns(self, history: Sequence[Message], language: Language, *, persona: bool) -> list[int]:
        who = [Message("system", _PERSONA.render(language, "persona"))] if persona else []
        return self._chat.turns([*who, *history])

    def _user_turn(self, text: str, rng: random.Random, *, cut: float, left_out: bool = False) -> list[int]:
        """Often with merges left out, so that a word is known by its parts as well.

        After BPE dropout (Provilkov et al., 2020, arXiv:1910.13267).
        """
        rate = cut if rng.random() < 0.5 else 0.0
        pieces = [""]
        for character in text:
            if pieces[-1] and rng.random() < rate:
                pieces.append("")
            pieces[-1] += character
        body = [index for piece in pieces for index in self._chat.encode(piece)]
        if left_out and rng.random() < 1 / 3:
            body = [index for index in body if rng.random() >= _LEFT_OUT] or body
        if len(body) > self._text_tokens:  # as SharedQwen.excerpt does
            half = self._text_tokens // 2
            body = [*body[:half], *self._chat.encode(" … "), *body[-half:]]
        empty = self._chat.turn(Message("user", ""))
        end = empty.index(self._chat.end_of_turn)
        return [*empty[:end], *body, *empty[end:]]

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

    def _questions(
        self, item: Item, language: Language, rng: random.Random, *, bare: float, own_routes: float
    ) -> list[tuple[Question, Answer]]:
        asked: list[tuple[Question, Answer]] = []
        if item.routes and (item.routes != _REVIEW or rng.random() < 0.4):
            asked.append(_route(item, language, rng, bare=rng.random() < bare, others=self._labels[language]))
        if item.mood is not None and (item.mood != "neutral" or rng.random() < 0.3):
            asked.append(_mood(item, language, rng, bare=rng.random() < bare))
        if item.grade is not None and rng.random() < 0.25:
            asked.append(_intensity(item, language, rng))
        if item.questions:
            asked += [(Noul(instructions=words), _yes(true)) for words, true in rng.sample(item.questions, 1)]
        elif rng.random() < 0.2:
            asked += _yes_or_no(item, language, rng)
        if item.intent is not None:
            asked += _intent(item, language, rng, own_routes=own_routes)
        if item.sentences:
            asked += _sentences(item, language, rng)
        if item.spans:
            asked += _keywords(item, language, rng)
        return asked


def _order(question: Question, rng: random.Random) -> list[int] | None:
    """Of the options of a choice: often any, so that no place is better than another."""
    if question.type != "choice":
        return None
    labels = list(question.criteria)
    if rng.random() < 0.6:
        return rng.sample(range(len(labels)), len(labels))
    return sorted(range(len(labels)), key=labels.__getitem__)


def _wording(language: Language, kind: str, shipped: str, rng: random.Random) -> str:
    return shipped if rng.random() < 0.6 else str(rng.choice(_PARAPHRASES[language][kind]))


def _route(
    item: Item, language: Language, rng: random.Random, *, bare: bool, others: Sequence[tuple[str, str]]
) -> tuple[Question, Answer]:
    """Among the shipped routes, at times less one of them, with others beside them that do not fit."""
    words = _PARAPHRASES[language]
    names = {route.name: route.name for route in shipped_routes()}
    criteria: dict[str, Any] = {route.name: route.description[language] for route in shipped_routes()}
    if rng.random() < 0.3:
        names = {name: rng.choice(words["route_labels"][name]) for name in names}
    if rng.random() < 0.3:
        criteria = {name: rng.choice(words["route_descriptions"][name]) for name in criteria}
    if bare:
        criteria = dict.fromkeys(criteria)
    if rng.random() < 0.15:
        dropped = rng.choice([name for name in names if name not in item.routes])
        del names[dropped]
    named = {names[name]: criteria[name] for name in names}
    if others and rng.random() < 0.2:
        for name, meaning in rng.sample(others, min(len(others), rng.choice((1, 2, 4)))):
            named.setdefault(name, None if bare else meaning)
    shortest = words["route_shortest"] if bare else None
    instructions = shortest or _wording(language, "route", _ROUTE.render(language, "instructions"), rng)
    share = 1 / len(item.routes)
    return Choice(instructions=instructions, criteria=named), {names[route]: share for route in item.routes}


def _mood(item: Item, language: Language, rng: random.Random, *, bare: bool) -> tuple[Question, Answer]:
    prompt = _TOOLS["sentiment"]
    positive, negative = prompt.entry(language, "positive"), prompt.entry(language, "negative")
    criteria: dict[str, Any] = {
        positive: prompt.entry(language, "positive_description"),
        negative: prompt.entry(language, "negative_description"),
    }
    if bare:
        criteria = {positive: None, negative: None}
    elif rng.random() < 0.3:
        positive, negative = rng.choice(_PARAPHRASES[language]["mood_labels"])
        criteria = {positive: None, negative: None}
    shortest = _PARAPHRASES[language]["mood_shortest"] if bare else None
    instructions = shortest or _wording(language, "mood", prompt.render(language, "instructions"), rng)
    share = {"positive": 1.0, "neutral": 0.5, "negative": 0.0}[item.mood or "neutral"]
    return Choice(instructions=instructions, criteria=criteria), {positive: share, negative: 1 - share}


def _intensity(item: Item, language: Language, rng: random.Random) -> tuple[Question, Answer]:
    prompt = _TOOLS["sentiment"]
    instructions = _wording(language, "intensity", prompt.render(language, "intensity"), rng)
    shares = _LEVELS[item.grade or 0]
    question = Score(instructions=instructions, criteria=prompt.entry(language, "levels"))
    return question, {str(level): share for level, share in enumerate(shares)}


def _yes_or_no(item: Item, language: Language, rng: random.Random) -> list[tuple[Question, Answer]]:
    known: list[tuple[str, bool]] = []
    if item.mood is not None:
        known += [("complaint", item.mood == "negative"), ("praise", item.mood == "positive")]
    if len(item.routes) == 1:
        known.append(("request", item.routes == ("intent",)))
    if not known:
        return []
    kind, true = rng.choice(known)
    return [(Noul(instructions=rng.choice(_PARAPHRASES[language][kind])), _yes(true))]


def _intent(item: Item, language: Language, rng: random.Random, *, own_routes: float) -> list[tuple[Question, Answer]]:
    prompt = _TOOLS["intent"]
    kind = "intent" if rng.random() < 1 - own_routes else "route"
    shipped = (_ROUTE if kind == "route" else prompt).render(language, "instructions")
    instructions = _wording(language, kind, shipped, rng)
    own = str(item.intent)
    others = [label for label in item.intents if label != own]
    if others and rng.random() < 0.3:
        label = own if rng.random() < 0.5 else rng.choice(others)
        about = str(rng.choice(_PARAPHRASES[language]["about"])).replace("$label", label)
        asked: list[tuple[Question, Answer]] = [(Noul(instructions=about), _yes(label == own))]
    else:
        labels = [own, *rng.sample(others, min(len(others), rng.choice(_OTHER_INTENTS)))]
        told = item.meanings if rng.random() < (0.3 if kind == "intent" else 0.7) else {}
        criteria: dict[str, Any] = {label: told.get(label) for label in labels}
        if kind == "route" and rng.random() < 0.6:  # a user's route beside the shipped ones, which fit less
            described = rng.random() < 0.7
            criteria |= {
                route.name: route.description[language] if described else None
                for route in shipped_routes()
                if route.name not in criteria
            }
        asked = [(Choice(instructions=instructions, criteria=criteria), {own: 1.0})]
    if item.default_intent is not None and rng.random() < 0.8:
        candidates = prompt.entry(language, "candidates")
        answer = {list(candidates)[item.default_intent]: 1.0}
        asked.append((Choice(instructions=instructions, criteria=candidates), answer))
    return asked


def _sentences(item: Item, language: Language, rng: random.Random) -> list[tuple[Question, Answer]]:
    tool = "knowledge" if "chat" in item.routes else "summary"
    return [
        (_asked_about(tool, "sentence", sentence, language, rng), _yes(hit))
        for sentence, hit in _one_of_each(item.sentences, rng)
    ]


def _keywords(item: Item, language: Language, rng: random.Random) -> list[tuple[Question, Answer]]:
    return [
        (_asked_about("keywords", "keyword", span, language, rng), _yes(hit))
        for span, hit in _one_of_each(item.spans, rng)
    ]


def _asked_about(tool: str, part: str, words: str, language: Language, rng: random.Random) -> Question:
    if rng.random() < 0.7:
        return Noul(instructions=_TOOLS[tool].render(language, part, **{part: words}))
    return Noul(instructions=str(rng.choice(_PARAPHRASES[language][tool])).replace(f"${part}", words))


def _one_of_each(marked: Sequence[tuple[str, bool]], rng: random.Random) -> list[tuple[str, bool]]:
    """One that is meant and one that is not, as far as there are such."""
    sides = [[each for each in marked if each[1] is wanted] for wanted in (True, False)]
    return [rng.choice(side) for side in sides if side]


def _smoothed(shares: Sequence[float]) -> tuple[float, ...]:
    """A little of the answer is given to every option, so that no probability runs to one."""
    return tuple((1 - _SMOOTHING) * share + _SMOOTHING / len(shares) for share in shares)


@cache
def _yes(true: bool) -> Answer:
    return {"yes": float(true), "no": float(not true)}
