"""The training loop: lessons in, weights out."""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import Qwen2Config, Qwen2ForCausalLM

from training.batches import Batch, collate
from training.lessons import Lesson, Teacher
from training.sources import Source

_POOL = 384
_BARE_FIRST, _BARE_LATER = 0.85, 0.2
_AVERAGE_FROM = 0.8
_CHECK_EVERY = 0.125
_GOLD_WEIGHT = 0.1


@dataclass(frozen=True)
class Phase:
    """A stretch of training with one aim."""

    tokens: int
    """Tokens to train on, padding included."""
    learning_rate: float
    """The highest; it falls linearly to zero."""
    reply_weight: float
    """What a reply's words weigh against a decision."""
    bare_until: float = 0.0
    """Until this share of the phase most questions come in their shortest form."""
    asked_of_replies: float = 1.0
    """How often a text that has a reply is asked about as well."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Source to share of the lessons, others having none; empty: each source's own share."""

    def share_of(self, source: Source) -> float:
        """How large a part of the lessons comes from a source."""
        return self.shares.get(source.name, 0.0) if self.shares else source.share


@dataclass(frozen=True)
class Size:
    """Shape of a model and its training."""

    vocabulary: int
    width: int
    inner: int
    layers: int
    heads: int
    key_value_heads: int
    phases: tuple[Phase, ...]
    batch: int = 3000
    """Tokens of one step, padding included."""
    window: int = 1024


_TALK = {"replies": 0.72, "inputs": 0.14, "opinions": 0.06, "sst2": 0.03, "shopping": 0.03, "smp": 0.02}
_DECIDE_THEN_TALK = (
    Phase(6_500_000, learning_rate=2e-3, reply_weight=0.4, bare_until=0.55),
    Phase(3_000_000, learning_rate=2e-3, reply_weight=2.0, asked_of_replies=0.1, shares=_TALK),
)
"""Decisions first, on short questions before the toolkit's own wordings; then replies, without forgetting."""

SIZES = {
    "tiny": Size(6000, 96, 256, 2, 2, 1, phases=_DECIDE_THEN_TALK),
    "small": Size(14000, 256, 512, 3, 4, 2, phases=_DECIDE_THEN_TALK),
}


def new_model(size: Size, embeddings: torch.Tensor, *, stop: int, pad: int) -> Qwen2ForCausalLM:
    """A model whose tied embedding starts from the given vectors. *Shape:* (known tokens, width)."""
    config = Qwen2Config(
        vocab_size=size.vocabulary,
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


@dataclass
class Progress:
    """How far a training is."""

    phase: Phase
    seen: int = 0
    steps: int = 0

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return min(1.0, self.seen / self.phase.tokens)

    @property
    def rate(self) -> float:
        """Learning rate: a short climb, then a line down to zero."""
        return self.phase.learning_rate * min(1.0, self.steps / 100) * (1 - self.share)

    @property
    def bare(self) -> float:
        """How often questions come in their shortest form."""
        return _BARE_FIRST if self.share < self.phase.bare_until else _BARE_LATER

    def passed(self, share: float, batch: int) -> bool:
        """Whether the last batch, of that many tokens, crossed a multiple of the share."""
        return int(self.share / share) > int((self.seen - batch) / self.phase.tokens / share)


def train(
    model: Qwen2ForCausalLM,
    teacher: Teacher,
    sources: Sequence[Source],
    phase: Phase,
    *,
    batch_tokens: int,
    seed: int,
    log: Callable[[object], None],
    check: Callable[[], None],
) -> None:
    """Train one phase in place; at its end the weights are the running average of the last steps."""
    torch.manual_seed(seed)
    optimizer = _optimizer(model)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.998))  # type: ignore[no-untyped-call]
    progress, losses, start = Progress(phase), [0.0], time.monotonic()
    drawn = [
        replace(source, share=phase.shares.get(source.name, 0 if phase.shares else source.share)) for source in sources
    ]
    model.train()
    for batch in _batches(teacher, drawn, batch_tokens, random.Random(seed), progress):
        for group in optimizer.param_groups:
            group["lr"] = progress.rate
        loss = _loss(model, batch, reply_weight=phase.reply_weight)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        progress.seen += batch.size
        progress.steps += 1
        if progress.share > _AVERAGE_FROM:
            average.update_parameters(model)
        if progress.steps % 100 == 0:
            log(_report(progress, losses[-100:], time.monotonic() - start))
        if progress.passed(_CHECK_EVERY, batch.size):
            check()
            model.train()
        if progress.share >= 1:
            break
    model.load_state_dict(average.module.state_dict())


def _optimizer(model: Qwen2ForCausalLM) -> torch.optim.Optimizer:
    decayed = [weight for weight in model.parameters() if weight.ndim > 1]
    plain = [weight for weight in model.parameters() if weight.ndim == 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98))


def _report(progress: Progress, losses: Sequence[float], seconds: float) -> dict[str, float]:
    loss = round(sum(losses) / len(losses), 4)
    return {"step": progress.steps, "tokens": progress.seen, "loss": loss, "seconds": round(seconds)}


def _loss(model: Qwen2ForCausalLM, batch: Batch, *, reply_weight: float) -> torch.Tensor:
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
    loss = (picked + _GOLD_WEIGHT * gold)[decisions].sum() + reply_weight * gold[batch.alone].sum()
    return loss / count


def _batches(
    teacher: Teacher, sources: Sequence[Source], tokens: int, rng: random.Random, progress: Progress
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
            lesson = teacher.lesson(
                stocks[index][queues[index].pop()], rng, bare=progress.bare, asked=progress.phase.asked_of_replies
            )
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
