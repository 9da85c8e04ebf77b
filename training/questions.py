"""Questions about a labelled text, worded as the toolkit words them or otherwise, with their answers."""

import random
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from qwen_allinone.model.language import Language
from qwen_allinone.model.questions import Choice, Noul, Question, Score
from qwen_allinone.router.route import shipped_routes
from training.prompts import PARAPHRASES, ROUTE, TOOLS
from training.sources import Item

_REVIEW = ("sentiment",)
"""Routes of the reviews, of which there are so many that only some are asked for theirs."""
_OTHER_INTENTS = (2, 3, 4, 5, 5, 5, 6, 9)
_LEVELS = {0: (1.0, 0.0, 0.0, 0.0, 0.0), 1: (0.0, 0.15, 0.5, 0.3, 0.05), 2: (0.0, 0.0, 0.05, 0.3, 0.65)}

Answer = Mapping[str, float]
"""Share of each option in the answer that the model should give."""
Asked = tuple[Question, Answer]


def questions_about(
    item: Item,
    language: Language,
    rng: random.Random,
    *,
    bare: float,
    own_routes: float,
    labels: Sequence[tuple[str, str]],
) -> list[Asked]:
    """Draw questions that the item answers.

    Args:
        item: the text and what is known about it.
        language: of the questions.
        rng: draws them.
        bare: share of the questions in their shortest form.
        own_routes: share of the labels that are asked for as a route.
        labels: other labels with their meanings, for routes that do not fit.
    """
    asked: list[Asked] = []
    if item.routes and (item.routes != _REVIEW or rng.random() < 0.4):
        asked.append(_route(item, language, rng, bare=rng.random() < bare, others=labels))
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


def _wording(language: Language, kind: str, shipped: str, rng: random.Random) -> str:
    return shipped if rng.random() < 0.6 else str(rng.choice(PARAPHRASES[language][kind]))


def _route(
    item: Item, language: Language, rng: random.Random, *, bare: bool, others: Sequence[tuple[str, str]]
) -> Asked:
    """Ask for the route among the shipped ones, at times less one of them, or with others that do not fit."""
    words = PARAPHRASES[language]
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
    instructions = shortest or _wording(language, "route", ROUTE.render(language, "instructions"), rng)
    share = 1 / len(item.routes)
    return Choice(instructions=instructions, criteria=named), {names[route]: share for route in item.routes}


def _mood(item: Item, language: Language, rng: random.Random, *, bare: bool) -> Asked:
    prompt = TOOLS["sentiment"]
    positive, negative = prompt.entry(language, "positive"), prompt.entry(language, "negative")
    criteria: dict[str, Any] = {
        positive: prompt.entry(language, "positive_description"),
        negative: prompt.entry(language, "negative_description"),
    }
    if bare:
        criteria = {positive: None, negative: None}
    elif rng.random() < 0.3:
        positive, negative = rng.choice(PARAPHRASES[language]["mood_labels"])
        criteria = {positive: None, negative: None}
    shortest = PARAPHRASES[language]["mood_shortest"] if bare else None
    instructions = shortest or _wording(language, "mood", prompt.render(language, "instructions"), rng)
    share = {"positive": 1.0, "neutral": 0.5, "negative": 0.0}[item.mood or "neutral"]
    return Choice(instructions=instructions, criteria=criteria), {positive: share, negative: 1 - share}


def _intensity(item: Item, language: Language, rng: random.Random) -> Asked:
    prompt = TOOLS["sentiment"]
    instructions = _wording(language, "intensity", prompt.render(language, "intensity"), rng)
    shares = _LEVELS[item.grade or 0]
    question = Score(instructions=instructions, criteria=prompt.entry(language, "levels"))
    return question, {str(level): share for level, share in enumerate(shares)}


def _yes_or_no(item: Item, language: Language, rng: random.Random) -> list[Asked]:
    known: list[tuple[str, bool]] = []
    if item.mood is not None:
        known += [("complaint", item.mood == "negative"), ("praise", item.mood == "positive")]
    if len(item.routes) == 1:
        known.append(("request", item.routes == ("intent",)))
    if not known:
        return []
    kind, true = rng.choice(known)
    return [(Noul(instructions=rng.choice(PARAPHRASES[language][kind])), _yes(true))]


def _intent(item: Item, language: Language, rng: random.Random, *, own_routes: float) -> list[Asked]:
    prompt = TOOLS["intent"]
    kind = "intent" if rng.random() < 1 - own_routes else "route"
    shipped = (ROUTE if kind == "route" else prompt).render(language, "instructions")
    instructions = _wording(language, kind, shipped, rng)
    own = str(item.intent)
    others = [label for label in item.intents if label != own]
    if others and rng.random() < 0.3:
        label = own if rng.random() < 0.5 else rng.choice(others)
        about = str(rng.choice(PARAPHRASES[language]["about"])).replace("$label", label)
        asked: list[Asked] = [(Noul(instructions=about), _yes(label == own))]
    else:
        labels = [own, *rng.sample(others, min(len(others), rng.choice(_OTHER_INTENTS)))]
        told = item.meanings if rng.random() < (0.3 if kind == "intent" else 0.7) else {}
        criteria: dict[str, Any] = {label: told.get(label) for label in labels}
        if kind == "route" and rng.random() < 0.6:  # a user's route beside the shipped ones, which fit less
            described = rng.random() < 0.7
            for route in shipped_routes():
                criteria.setdefault(route.name, route.description[language] if described else None)
        asked = [(Choice(instructions=instructions, criteria=criteria), {own: 1.0})]
    if item.default_intent is not None and rng.random() < 0.8:
        candidates = prompt.entry(language, "candidates")
        answer = {list(candidates)[item.default_intent]: 1.0}
        asked.append((Choice(instructions=instructions, criteria=candidates), answer))
    return asked


def _sentences(item: Item, language: Language, rng: random.Random) -> list[Asked]:
    tool = "knowledge" if "chat" in item.routes else "summary"
    drawn = _one_of_each(item.sentences, rng)
    return [(_asked_about(tool, "sentence", sentence, language, rng), _yes(hit)) for sentence, hit in drawn]


def _keywords(item: Item, language: Language, rng: random.Random) -> list[Asked]:
    drawn = _one_of_each(item.spans, rng)
    return [(_asked_about("keywords", "keyword", span, language, rng), _yes(hit)) for span, hit in drawn]


def _asked_about(tool: str, part: str, words: str, language: Language, rng: random.Random) -> Question:
    if rng.random() < 0.7:
        return Noul(instructions=TOOLS[tool].render(language, part, **{part: words}))
    return Noul(instructions=str(rng.choice(PARAPHRASES[language][tool])).replace(f"${part}", words))


def _one_of_each(marked: Sequence[tuple[str, bool]], rng: random.Random) -> list[tuple[str, bool]]:
    """Draw one that is meant and one that is not, as far as there are such."""
    right = [each for each in marked if each[1]]
    wrong = [each for each in marked if not each[1]]
    return [rng.choice(side) for side in (right, wrong) if side]


@cache
def _yes(true: bool) -> Answer:
    return {"yes": float(true), "no": float(not true)}
