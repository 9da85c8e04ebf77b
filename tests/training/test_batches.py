"""Training sees exactly what inference scores."""

import random

import pytest
import torch

from qwen_allinone.model import SharedQwen
from training.batches import collate
from training.lessons import Teacher
from training.sources import Item
from training.train import _loss


@pytest.fixture
def items() -> list[Item]:
    """Texts with several questions each, and a reply."""
    return [
        Item("会议拖了两小时，毫无进展", "inputs", routes=("sentiment",), mood="negative", grade=2),
        Item("tell me a joke", "replies", routes=("chat",), reply="Knock knock.", memory="I like puns"),
        Item("book a table", "intents", intent="book", intents=["book", "play", "call", "pay"], default_intent=1),
    ]


def test_a_batch_costs_what_the_scorer_finds(qwen: SharedQwen, items: list[Item]) -> None:
    """The likelihood of each leaf in a padded batch equals the scorer's for the same prefix and branches."""
    teacher = Teacher(qwen.chat, items[1:2] * 8, text_tokens=50)
    lessons = [teacher.lesson(item, random.Random(seed)) for seed, item in enumerate(items)]
    lessons = [lesson for lesson in lessons if lesson is not None]
    batch = collate(lessons)
    with torch.no_grad():
        hidden = qwen.model.model(
            input_ids=batch.ids, position_ids=batch.positions, attention_mask=batch.mask, use_cache=False
        ).last_hidden_state
        logits = qwen.model.lm_head(hidden.reshape(-1, hidden.shape[-1])[batch.where])
    likelihoods = torch.log_softmax(logits, dim=-1).gather(1, batch.tokens[:, None]).squeeze(1)
    found = torch.zeros(len(batch.shares)).index_add(0, batch.leaves, likelihoods).tolist()
    expected = [
        score for lesson in lessons for branch in qwen._scorer.score(lesson.prefix, lesson.branches) for score in branch
    ]
    assert found == pytest.approx(expected, abs=1e-3)


def test_the_loss_falls_when_a_batch_is_learned(items: list[Item], qwen: SharedQwen) -> None:
    """A few steps on one batch make its answers more likely."""
    import copy

    model = copy.deepcopy(qwen.model)
    teacher = Teacher(qwen.chat, items[1:2] * 8, text_tokens=50)
    batch = collate([lesson for item in items if (lesson := teacher.lesson(item, random.Random(1)))])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(6):
        loss = _loss(model, batch, reply_weight=0.5)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
