"""How well a model in training decides the rows, categories and labels that were held out."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import Qwen2ForCausalLM

from qwen_allinone.errors import QwenAllInOneError
from qwen_allinone.model.decision import Decision
from qwen_allinone.model.prompt_file import PromptFile
from qwen_allinone.model.questions import Choice, Noul, Question
from qwen_allinone.model.shared import SharedQwen
from qwen_allinone.router.question import route_question
from qwen_allinone.router.route import shipped_routes
from qwen_allinone.tools.sentiment import by_polarity, mood_question
from training.batches import collate
from training.lessons import Teacher
from training.sources import Item
from training.train import leaf_costs

_INTENT = PromptFile.load("qwen_allinone.tools", "intent")
_ROUTE = PromptFile.load("qwen_allinone.router", "route")
_MOST = 100
"""Rows of each task and source."""
_OTHERS = 5
"""Candidates besides the right one."""
_MOST_REPLIES = 200
_REPLY_TEXT_TOKENS = 112


def accuracies(qwen: SharedQwen, held: Sequence[Item]) -> dict[str, str]:
    """Share decided rightly.

    Route of the inputs; mood of all that has one, but for the inputs; intent among six candidates; the intent as a
    route of the user's beside the shipped ones; yes or no.
    """
    qwen.model.eval()  # type: ignore[no-untyped-call]
    qwen.forget()
    exams: dict[str, list[_Exam]] = {}
    for item in random.Random(0).sample(held, len(held)):
        for exam in _exams(item):
            exams.setdefault(f"{exam.task} {item.source} {item.language}", []).append(exam)
    drawn = [(name, exam) for name, found in sorted(exams.items()) if len(found) > 9 for exam in found[:_MOST]]
    answers = qwen.decide_all((exam.text, {exam.task: exam.question}) for _, exam in drawn)
    hits: dict[str, list[bool]] = {}
    for (name, exam), answer in zip(drawn, answers, strict=True):
        hits.setdefault(name, []).append(not isinstance(answer, QwenAllInOneError) and exam.passed(answer[exam.task]))
    return {name: f"{sum(found) / len(found):.3f} of {len(found)}" for name, found in hits.items()}


def reply_costs(qwen: SharedQwen, held: Sequence[Item]) -> dict[str, float]:
    """Nats per token of held-out replies, by language; those that need a memory apart."""
    teacher = Teacher(qwen.chat, [item for item in held if item.reply is not None], text_tokens=_REPLY_TEXT_TOKENS)
    costs: dict[str, list[float]] = {}
    for item in random.Random(0).sample(held, len(held)):
        name = "memory" if item.memory else item.language
        lesson = teacher.lesson(item, random.Random(item.text), asked=0, cut=0) if item.reply is not None else None
        if lesson is not None and len(costs.setdefault(name, [])) < _MOST_REPLIES:
            batch = collate([lesson])
            with torch.no_grad():
                found = leaf_costs(cast(Qwen2ForCausalLM, qwen.model), batch) / batch.sizes
            costs[name].append(found.item())
    return {name: round(sum(each) / len(each), 3) for name, each in sorted(costs.items())}


@dataclass(frozen=True)
class _Exam:
    task: str
    text: str
    question: Question
    right: tuple[str, ...]

    def passed(self, decision: Decision) -> bool:
        return (by_polarity(decision).option if self.task == "mood" else decision.option) in self.right


def _exams(item: Item) -> list[_Exam]:
    asked: list[tuple[str, Question, tuple[str, ...]]] = []
    if item.source == "inputs":
        asked.append(("route", route_question(shipped_routes(), item.language), item.routes))
    if item.mood in ("positive", "negative") and item.source != "inputs":
        asked.append(("mood", mood_question(item.language), (item.mood,)))
    if item.intent is not None:
        others = sorted({label for label in item.intents if label != item.intent})
        labels = sorted([item.intent, *random.Random(item.text).sample(others, min(_OTHERS, len(others)))])
        question = Choice(instructions=_INTENT.render(item.language, "instructions"), criteria=dict.fromkeys(labels))
        asked.append(("intent", question, (item.intent,)))
        if item.intent in item.meanings:
            meanings: dict[str, Any] = {route.name: route.description[item.language] for route in shipped_routes()}
            meanings[item.intent] = item.meanings[item.intent]
            beside = Choice(instructions=_ROUTE.render(item.language, "instructions"), criteria=meanings)
            asked.append(("own route", beside, (item.intent,)))
    for words, true in item.questions[:1]:
        asked.append(("question", Noul(instructions=words), ("yes" if true else "no",)))
    return [_Exam(task, item.text, question, right) for task, question, right in asked]
