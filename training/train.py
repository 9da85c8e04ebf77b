"""The training loop: lessons in, weights out."""

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy
from transformers import Qwen2Config, Qwen2ForCausalLM

from training.batches import Batch, collate
from training.lessons import Lesson, Teacher
from training.sources import Source

_POOL = 384
_BARE_UNTIL, _BARE_FIRST, _BARE_LATER = 0.55, 0.85, 0.2
"""Short questions come first, and the toolkit's own wordings once there is something to word."""
_GOLD_WEIGHT = 0.1
_REPLY_WEIGHT = 0.6


@dataclass(frozen=True)
class Size:
    """Shape of a model and length of its training."""

    vocabulary: int
    width: int
    inner: int
    layers: int
    heads: int
    key_value_heads: int
    tokens: int
    """Tokens to train on, padding included."""
    batch: int = 3000
    """Tokens of one step, padding included."""
    learning_rate: float = 1.5e-3
    window: int = 1024


SIZES = {
    "tiny": Size(6000, 96, 256, 2, 2, 1, tokens=400_000),
    "small": Size(14000, 256, 512, 3, 4, 2, tokens=18_000_000),
}


def new_model(size: Size, vocabulary: int, embeddings: torch.Tensor, *, stop: int, pad: int) -> Qwen2ForCausalLM:
    """A model whose tied embedding starts from the given vectors. *Shape:* (known tokens, width)."""
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=size.width,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_value_heads,
        max_position_embeddings=size.window,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=stop,
        pad_token_id=pad,
    )
    model = Qwen2ForCausalLM(config)
    with torch.no_grad():
        known = model.model.embed_tokens.weight[: len(embeddings)]
        scaled = embeddings * (0.04 * size.width**0.5)
        seen = embeddings.norm(dim=1, keepdim=True) > 0
        known.copy_(torch.where(seen, scaled, known))
    return model


def train(
    model: Qwen2ForCausalLM,
    teacher: Teacher,
    sources: Sequence[Source],
    size: Size,
    *,
    seed: int,
    log: Callable[[str], None],
    check: Callable[[], str],
) -> None:
    """Train in place; at the end the weights are the running average of the last steps."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    decayed = [weight for weight in model.parameters() if weight.ndim > 1]
    plain = [weight for weight in model.parameters() if weight.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}], betas=(0.9, 0.98)
    )
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998))
    start, seen, steps, next_check = time.monotonic(), 0, 0, size.tokens // 8
    losses: list[float] = []
    model.train()
    for batch in _batches(teacher, sources, size.batch, rng, bare=lambda: _bare(seen / size.tokens)):
        rate = size.learning_rate * min(1.0, steps / 100) * max(0.0, 1 - seen / size.tokens)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = _loss(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if seen > 0.8 * size.tokens:
            average.update_parameters(model)
        losses.append(loss.item())
        seen += batch.size
        steps += 1
        if steps % 100 == 0:
            elapsed = time.monotonic() - start
            mean = sum(losses[-100:]) / 100
            log(json.dumps({"step": steps, "tokens": seen, "loss": round(mean, 4), "seconds": round(elapsed)}))
        if seen >= next_check:
            model.eval()
            log(check())
            model.train()
            next_check += size.tokens // 8
        if seen >= size.tokens:
            break
    model.load_state_dict(average.module.state_dict())
    model.eval()


def _loss(model: Qwen2ForCausalLM, batch: Batch) -> torch.Tensor:
    hidden = model.model(
        input_ids=batch.ids, position_ids=batch.positions, attention_mask=batch.mask, use_cache=False
    ).last_hidden_state
    rows = hidden.reshape(-1, hidden.shape[-1])[batch.where]
    costs = cross_entropy(rows @ model.get_input_embeddings().weight.T, batch.tokens, reduction="none")
    leaf_costs = torch.zeros(len(batch.shares)).index_add(0, batch.leaves, costs)
    count = int(batch.branches[-1]) + 1
    totals = torch.full((count,), float("-inf")).scatter_reduce(0, batch.branches, -leaf_costs, "amax")
    shifted = torch.exp(-leaf_costs - totals.detach()[batch.branches])
    normalizers = torch.zeros(count).index_add(0, batch.branches, shifted).log() + totals.detach()
    picked = batch.shares * (normalizers[batch.branches] + leaf_costs)
    gold = batch.shares * leaf_costs / batch.sizes
    decisions = ~batch.alone
    loss = (picked + _GOLD_WEIGHT * gold)[decisions].sum() + _REPLY_WEIGHT * gold[batch.alone].sum()
    return loss / count


def _bare(progress: float) -> float:
    return _BARE_FIRST if progress < _BARE_UNTIL else _BARE_LATER


def _batches(
    teacher: Teacher, sources: Sequence[Source], tokens: int, rng: random.Random, *, bare: Callable[[], float]
) -> Iterator[Batch]:
    """Endless batches of lessons of similar length."""
    stocks = [[*source.items] for source in sources]
    queues: list[list[int]] = [[] for _ in sources]
    while True:
        pool: list[Lesson] = []
        while len(pool) < _POOL:
            index = rng.choices(range(len(sources)), [source.share for source in sources])[0]
            if not queues[index]:
                queues[index] = rng.sample(range(len(stocks[index])), len(stocks[index]))
            lesson = teacher.lesson(stocks[index][queues[index].pop()], rng, bare=bare())
            if lesson is not None:
                pool.append(lesson)
        pool.sort(key=_length)
        groups: list[list[Lesson]] = [[]]
        for lesson in pool:
            if (len(groups[-1]) + 1) * _length(lesson) > tokens and groups[-1]:
                groups.append([])
            groups[-1].append(lesson)
        rng.shuffle(groups)
        yield from (collate(group) for group in groups)


def _length(lesson: Lesson) -> int:
    branches = sum(len(branch.stem) + sum(len(leaf) - 1 for leaf in branch.leaves) for branch in lesson.branches)
    return len(lesson.prefix) + branches
