"""What the tiny models of the tests are made of, and what the trained one has learnt."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from qwen_allinone.model import Choice, Message, Noul, Score, SharedQwen
from qwen_allinone.model.decisions.questions import render_question
from qwen_allinone.model.prompt.language import language_of
from qwen_allinone.model.prompt.prompt_file import PromptFile

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
PLAIN_ADDED_TOKENS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
"""Added, but not marked special: as in Qwen2.5 and 3."""
CONTROL_TOKENS = SPECIAL_TOKENS + PLAIN_ADDED_TOKENS

SENTENCES = (
    "今天的实验终于成功了，大家都很高兴。",
    "会议拖了两个小时，毫无进展，真让人失望。",
    "请帮我订一张明天去成都的票，谢谢。",
    "The experiment finally worked and the whole team is happy today.",
    "The meeting took two hours and nothing was decided, which is annoying.",
    "What is the mood of the text? Answer with one option: positive or negative.",
    "这段文字的情绪是什么？只回答一个选项：积极或消极。",
    "You are a kind, concise and reliable assistant.",
    "你是一个温和、简洁、可靠的助手。",
)

SHAPE: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
}
"""Grouped-query attention: two query heads to one key-value head."""

ARCHITECTURES: dict[str, Callable[[int], PreTrainedModel]] = {
    "qwen2": lambda size: Qwen2ForCausalLM(
        Qwen2Config(**SHAPE, vocab_size=size, initializer_range=0.25, tie_word_embeddings=False)
    ),
    "qwen2-tied": lambda size: Qwen2ForCausalLM(
        Qwen2Config(**SHAPE, vocab_size=size, initializer_range=0.25, tie_word_embeddings=True)
    ),
    "qwen3": lambda size: Qwen3ForCausalLM(
        Qwen3Config(**SHAPE, vocab_size=size, initializer_range=0.25, tie_word_embeddings=True, head_dim=16)
    ),
}

HYBRID = {
    **SHAPE,
    "num_hidden_layers": 4,
    "layer_types": ["linear_attention", "full_attention"] * 2,
    "head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "initializer_range": 0.25,
}

REPLIES = {
    "今天的实验终于成功了！": "太好了🎉，恭喜你们👩‍🔬！",
    "What is the weather like?": "It is sunny today. Take a hat.",
}
"""What the trained tiny model says to these texts, and then stops."""

MOODS = {
    "会议拖了两小时，毫无进展": "消极",
    "大家都很高兴": "积极",
    "今天是星期三": "中性",
}
"""What the trained tiny model decides about these texts, however the options are ordered."""

TEXT = "会议拖了两个小时，毫无进展"
ENGLISH = "The meeting took two hours and nothing was decided."
QUESTIONS = {
    "mood": Choice(instructions="Mood?", criteria={"positive": "glad", "positively thrilled": None, "sad": "low"}),
    "urgency": Score(instructions="How urgent?", criteria=["not", "somewhat", "very"]),
    "spam": Noul(instructions="Is it spam?"),
}

MOOD = Choice(instructions="这段文字的情绪是什么？", criteria={"积极": "高兴", "消极": "失望", "中性": None})


def fresh(shared: SharedQwen, **options) -> SharedQwen:
    """The same weights with an empty prefix cache of their own."""
    return SharedQwen.from_model(shared.local.model, shared.local.tokenizer, **options)


def close(probabilities, expected) -> bool:
    """The same options in the same order, with equal probabilities."""
    return list(probabilities) == list(expected) and dict(probabilities) == pytest.approx(dict(expected), abs=1e-4)


def reordered(question: Choice, labels: Sequence[str]) -> Choice:
    """The same question with its options in another order."""
    return Choice(instructions=question.instructions, criteria={label: question.criteria[label] for label in labels})


def rotations(items: Sequence[str]) -> list[list[str]]:
    """Every rotation of a list."""
    return [[*items[start:], *items[:start]] for start in range(len(items))]


def laid_out(text: str) -> list[Message]:
    """The persona and the text: what every prompt about a text begins with."""
    persona = PromptFile.load("qwen_allinone.model", "persona").render(language_of(text), "persona")
    return [Message("system", persona), Message("user", text)]


def likelihood(model: PreTrainedModel, before: Sequence[int], leaf: Sequence[int]) -> float:
    """Brute force: the log-likelihood of a leaf by one forward pass without cache, mask or shortcut."""
    ids = torch.tensor([[*before, *leaf]])
    with torch.no_grad():
        logs = torch.log_softmax(model(input_ids=ids, use_cache=False).logits[0].float(), dim=-1)
    return sum(float(logs[len(before) + index - 1, token]) for index, token in enumerate(leaf))


def lessons(qwen: SharedQwen) -> list[tuple[list[int], int]]:
    """Token ids of everything to be learnt, and where the part to be learnt begins."""
    rows = []
    for text, reply in REPLIES.items():
        prompt = qwen.chat.turns(laid_out(text)) + qwen.chat.opening()
        rows.append(([*prompt, *qwen.chat.encode(reply), qwen.chat.end_of_turn], len(prompt)))
    for text, mood in MOODS.items():
        for labels in rotations(list(MOOD.criteria)):
            question = Message("system", render_question(reordered(MOOD, labels), "zh").text)
            prompt = qwen.chat.turns([*laid_out(text), question]) + qwen.chat.opening()
            rows.append(([*prompt, *qwen.chat.encode(mood), qwen.chat.end_of_turn], len(prompt)))
    return rows
