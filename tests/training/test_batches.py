"""Training sees exactly what inference scores."""

import copy
import random
from dataclasses import replace
from itertools import chain

import pytest
import torch

from qwen_allinone.model import SharedQwen
from training import initialisation
from training.batches import collate
from training.example_builder import Example, ExampleBuilder
from training.recipe import in_training
from training.sources import Item
from training.train import leaf_costs, loss_of


@pytest.fixture
def items() -> list[Item]:
    """Texts with several questions each, and a reply."""
    return [
        Item("会议拖了两小时，毫无进展", "inputs", routes=("sentiment",), mood="negative", grade=2),
        Item("tell me a joke", "replies", routes=("chat",), reply="Knock knock.", memory="I like puns"),
        Item("book a table", "intents", intent="book", intents=["book", "play", "call", "pay"], default_intent=1),
    ]


@pytest.fixture
def examples(qwen: SharedQwen, items: list[Item]) -> list[Example]:
    """One example on each text."""
    builder = ExampleBuilder(qwen.chat, items[1:2] * 8, text_tokens=50)
    drawn = [builder.example(item, random.Random(seed)) for seed, item in enumerate(items)]
    return [example for example in drawn if example is not None]


def _scores(qwen: SharedQwen, examples: list[Example]) -> list[float]:
    """Return the scorer's likelihood of each leaf."""
    scores: list[float] = []
    for example in examples:
        scores += chain.from_iterable(qwen._scorer.score(example.prefix, example.branches))
    return scores


def test_a_batch_costs_what_the_scorer_finds(qwen: SharedQwen, examples: list[Example]) -> None:
    """The likelihood of each leaf in a padded batch equals the scorer's for the same prefix and branches."""
    with torch.no_grad():
        found = (-leaf_costs(qwen.model, collate(examples))).tolist()
    expected = _scores(qwen, examples)
    assert found == pytest.approx(expected, abs=1e-3)


def test_options_cost_early_what_a_model_that_has_grown_finds(fresh: SharedQwen, items: list[Item]) -> None:
    """It reads the layers before those for replies, and scores by the embedding, as the model does that ships."""
    model = copy.deepcopy(fresh.model)
    initialisation.grow(model)
    with torch.no_grad():
        for weight in initialisation.language_weights(model):
            weight.normal_(std=0.1)
    grown = in_training(model, fresh.tokenizer)
    builder = ExampleBuilder(grown.chat, items[1:2] * 8, text_tokens=50)
    drawn = [builder.example(item, random.Random(3)) for item in (items[0], items[2])]
    examples = [example for example in drawn if example is not None]
    with torch.no_grad():
        early, late = (leaf_costs(model, collate(examples), early=early) for early in (True, False))
    expected = _scores(grown, examples)
    assert (-early).tolist() == pytest.approx(expected, abs=1e-3)
    assert (early - late).abs().min() > 0.01


def test_the_loss_of_a_decision_is_the_cross_entropy_over_its_options(
    qwen: SharedQwen, examples: list[Example]
) -> None:
    """Loss and its share for the words follow from the scorer's likelihoods by hand, for one question."""
    example = next(example for example in examples if len(example.branches[0].leaves) > 1)
    example = replace(example, branches=example.branches[:1], answers=example.answers[:1])
    (scores,) = qwen._scorer.score(example.prefix, example.branches)
    shares = torch.tensor(example.answers[0])
    lengths = torch.tensor([float(len(leaf)) for leaf in example.branches[0].leaves])
    per_token = torch.tensor(scores) / lengths
    expected = -(shares * torch.log_softmax(per_token, dim=0)).sum() - 3 * 0.02 * (shares * per_token).sum()
    with torch.no_grad():
        assert loss_of(qwen.model, collate([example]), words=3.0).item() == pytest.approx(expected.item(), rel=1e-3)


def test_the_loss_falls_when_a_batch_is_learned(qwen: SharedQwen, examples: list[Example]) -> None:
    """A few steps on one batch make its answers more likely."""
    model = copy.deepcopy(qwen.model)
    batch = collate(examples)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(6):
        loss = loss_of(model, batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
