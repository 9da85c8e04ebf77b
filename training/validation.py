"""Accuracy and cost of a model in training, on the rows, categories and labels that were held out."""

import random
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from transformers import Qwen2ForCausalLM

from qwen_allinone.eval import Case, LabelledRow, evaluate
from qwen_allinone.model.decisions.questions import Choice, Noul, Question
from qwen_allinone.model.prompt.prompt_file import PromptFile
from qwen_allinone.model.qwen import SharedQwen
from qwen_allinone.router import route_question
from qwen_allinone.router.route import builtin_routes
from qwen_allinone.tools.sentiment import mood_question
from training.batches import collate
from training.example_builder import ExampleBuilder
from training.prompts import ROUTE, TOOLS
from training.sources import Item
from training.train import leaf_costs

_MOST, _FEWEST = 100, 10
"""Rows of each task and source."""
_OTHERS = 5
"""Candidates besides the right one."""
_MOST_REPLIES = 200
_REPLY_TEXT_TOKENS = 112


def accuracies(qwen: SharedQwen, held: Sequence[Item]) -> dict[str, str]:
    """Return the share of right decisions by task, source and language.

    Route of the inputs; mood of all that has one, but for the inputs; intent among six candidates; the intent as a
    route of the user's beside the shipped ones; yes or no.
    """
    qwen.local.model.eval()  # type: ignore[no-untyped-call]
    qwen.clear_cache()
    cases: dict[str, list[Case]] = {}
    for item in random.Random(0).sample(held, len(held)):
        for task, case in cases_about(item):
            cases.setdefault(f"{task} {item.source} {item.language}", []).append(case)
    told = {}
    for name, found in sorted(cases.items()):
        if len(found) >= _FEWEST:
            accuracy = evaluate(name, found[:_MOST], qwen, learned=False).accuracy
            told[name] = f"{accuracy.value or 0:.3f} of {accuracy.n}"
    return told


def reply_costs(qwen: SharedQwen, held: Sequence[Item]) -> dict[str, float]:
    """Return nats per token of held-out replies, by language; those that need a memory apart."""
    replies = [item for item in held if item.reply is not None]
    builder = ExampleBuilder(qwen.chat, replies, text_tokens=_REPLY_TEXT_TOKENS)
    costs: dict[str, list[float]] = {}
    for item in random.Random(0).sample(held, len(held)):
        name = "memory" if item.memory else item.language
        example = builder.example(item, random.Random(item.text), asked=0, cut=0) if item.reply is not None else None
        if example is not None and len(costs.setdefault(name, [])) < _MOST_REPLIES:
            batch = collate([example])
            with torch.no_grad():
                found = leaf_costs(cast(Qwen2ForCausalLM, qwen.local.model), batch) / batch.sizes
            costs[name].append(found.item())
    return {name: round(sum(each) / len(each), 3) for name, each in sorted(costs.items())}


def cases_about(item: Item) -> Iterator[tuple[str, Case]]:
    """Yield a case with the name of its task for everything that is known about an item."""
    if item.source == "inputs":
        yield "route", _case(item, route_question(builtin_routes(), item.language), *item.routes)
    if item.mood in ("positive", "negative") and item.source != "inputs":
        mood = mood_question(item.language)
        polarities = dict(zip(mood.criteria, ("positive", "negative"), strict=True))
        yield "mood", Case(_row(item, item.mood), mood, polarities)
    if item.intent is not None:
        yield from _intents(item, item.intent)
    for words, true in item.questions[:1]:
        yield "question", _case(item, Noul(instructions=words), "yes" if true else "no")


def _intents(item: Item, intent: str) -> Iterator[tuple[str, Case]]:
    others = sorted({label for label in item.intents if label != intent})
    labels = sorted([intent, *random.Random(item.text).sample(others, min(_OTHERS, len(others)))])
    among = Choice(instructions=_instructions(TOOLS["intent"], item), criteria=dict.fromkeys(labels))
    yield "intent", _case(item, among, intent)
    if intent in item.meanings:
        routes: dict[str, Any] = {route.name: route.description[item.language] for route in builtin_routes()}
        beside = Choice(instructions=_instructions(ROUTE, item), criteria={**routes, intent: item.meanings[intent]})
        yield "own route", _case(item, beside, intent)


def _instructions(prompt: PromptFile, item: Item) -> str:
    return prompt.render(item.language, "instructions")


def _case(item: Item, question: Question, *labels: str) -> Case:
    return Case(_row(item, *labels), question)


def _row(item: Item, *labels: str) -> LabelledRow:
    return LabelledRow(item.text, item.text, labels, item.language)
