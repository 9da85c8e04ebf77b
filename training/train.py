"""The training loop: examples in, weights out."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import Qwen2ForCausalLM

from training import initialisation
from training.batches import Batch
from training.curriculum import Curriculum, Progress, Stage
from training.sizes import Schedule

_AVERAGED = 0.998
"""Share of the running average of the weights that each step keeps."""
_GOLD_WEIGHT, _REPLY_WEIGHT = 0.02, 0.3
"""Weights of the words of a right option and of a reply, next to a decision; times that of the stage."""
_DROPOUT = 0.1
_SLOW = 0.05
"""Part of the learning rate for weights that begin with a meaning. Adam moves all entries as far, those of rare tokens
too, which would soon blur it."""
_DECAY = 0.05
_EPSILON, _RARE = 1e-8, 1e-4
"""Epsilon of Adam, and that of an output layer of its own: words that are hardly ever written stay where the embedding
has them, so that they can still be decided upon and copied."""
_PROGRESS = "progress"

Learners = Callable[[Qwen2ForCausalLM], Sequence[torch.nn.Parameter]]
"""Picks the weights of a model that learn."""


class Training:
    """A model in training, with its optimizer, its running average and its progress.

    Args:
        model: to be trained.
        schedule: how long and how fast.
        learners: picks the weights that learn; the others stay as they are.
        seed: of what is left out of the token vectors.
        threads: that compute the parts of a step.
    """

    def __init__(
        self,
        model: Qwen2ForCausalLM,
        schedule: Schedule,
        *,
        learners: Learners = initialisation.all_weights,
        seed: int = 0,
        threads: int = 1,
    ) -> None:
        self.model = model
        self._schedule = schedule
        self._learners = learners
        self._threads = ThreadPoolExecutor(threads)
        self._seed = seed
        self.progress = Progress(schedule.tokens)
        self._begin()

    def _begin(self) -> None:
        self._weights = self._learners(self.model)
        self.model.requires_grad_(requires_grad=False)
        for weight in self._weights:
            weight.requires_grad_()
        self._optimizer = _optimizer(self.model, self._weights)
        self._average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(_AVERAGED))  # type: ignore[no-untyped-call]

    @property
    def rate(self) -> float:
        """Learning rate now."""
        climbed = min(1.0, (self.progress.steps - (self.progress.grown_at or 0)) / 100)
        return self._schedule.rate * climbed * min(1.0, (1 - self.progress.share) / self._schedule.cooling)

    def run(
        self, curriculum: Curriculum, *, log: Callable[[dict[str, float]], None], check: Callable[[], None]
    ) -> None:
        """Train to the end; the weights are then the running average of the last steps.

        Args:
            curriculum: draws the batches.
            log: told of loss and speed now and then.
            check: called as often as the schedule says, when the model may be saved and the training kept.
        """
        losses: list[float] = []
        seconds, before = 0.0, self.progress.seen
        while self.progress.share < 1:
            start = time.monotonic()
            checked = int(self.progress.share * self._schedule.checks)
            torch.manual_seed((self._seed << 32) + self.progress.pools)
            self._grow_for(stage := curriculum.stage(self.progress))
            for parts in curriculum.pool(self.progress):
                losses.append(self._step(parts, stage))
            seconds += time.monotonic() - start
            if int(self.progress.share * self._schedule.checks) > checked:
                speed = (self.progress.seen - before) / seconds
                log({"loss": sum(losses) / len(losses), "tokens_per_second": speed})
                losses = []
                if self.progress.share < 1:
                    check()
        self._grow_for(curriculum.stage(self.progress))  # which a short training may have stepped over
        self.model.load_state_dict(self._average.module.state_dict())

    def _grow_for(self, stage: Stage) -> None:
        if stage.grown and not initialisation.is_grown(self.model.config):
            self._grow()

    def _grow(self) -> None:
        """Give the model what replies need; it goes on from the running average, with a new optimizer."""
        self.model.load_state_dict(self._average.module.state_dict())
        initialisation.grow(self.model)
        self.progress.grown_at = self.progress.steps
        self._begin()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Give the model the running average of its weights meanwhile, which swings less than the weights do."""
        own = {name: weight.clone() for name, weight in self.model.state_dict().items()}
        self.model.load_state_dict(self._average.module.state_dict())
        try:
            yield
        finally:
            self.model.load_state_dict(own)

    def _step(self, parts: Sequence[Batch], stage: Stage) -> float:
        """Step the optimizer on the mean of the parts, each computed in a thread of its own."""
        self.model.train()
        for group in self._optimizer.param_groups:
            others = 1.0 if initialisation.is_grown(self.model.config) else stage.pace
            group["lr"] = self.rate * {"constructed": _SLOW, "language": stage.pace}.get(group["part"], others)
        dropouts = [_dropout(part, self.model) for part in parts]

        def learned(part: Batch, dropout: torch.Tensor) -> tuple[float, Sequence[torch.Tensor]]:
            loss = loss_of(self.model, part, words=stage.words, dropout=dropout, early=stage.early)
            return loss.item(), torch.autograd.grad(loss, self._weights)

        losses, gradients = zip(*self._threads.map(learned, parts, dropouts), strict=True)
        for weight, *summands in zip(self._weights, *gradients, strict=True):
            weight.grad = torch.stack(summands).mean(0)
        torch.nn.utils.clip_grad_norm_(self._weights, 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.progress.seen += sum(part.size for part in parts)
        self.progress.steps += 1
        self._average.update_parameters(self.model)
        return float(sum(losses) / len(losses))

    def keep(self, path: Path) -> None:
        """Write all that is needed to continue, in one file: weights, their average, the optimizer and the progress."""
        tensors = {f"model.{name}": weight for name, weight in self.model.state_dict().items()}
        tensors |= {f"average.{name}": weight for name, weight in self._average.state_dict().items()}
        for number, state in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
        progress = {_PROGRESS: json.dumps(asdict(self.progress))}
        unfinished = path.with_name(f".{path.name}")
        save_file({name: tensor.clone() for name, tensor in tensors.items()}, unfinished, progress)
        unfinished.replace(path)

    def take_up(self, path: Path) -> None:
        """Continue from what was kept."""
        groups: dict[str, dict[str, torch.Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
        with safe_open(path, "pt") as state:
            for name in state.keys():  # noqa: SIM118 - it is no mapping
                part, rest = name.split(".", 1)
                groups[part][rest] = state.get_tensor(name)
            progress = json.loads(state.metadata()[_PROGRESS])
        if progress["grown_at"] is not None and not initialisation.is_grown(self.model.config):
            self._grow()
        self.model.load_state_dict(groups["model"])
        self._average.load_state_dict(groups["average"])
        states: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in groups["optimizer"].items():
            number, field = name.split(".")
            states.setdefault(int(number), {})[field] = tensor
        optimizer = self._optimizer.state_dict()
        self._optimizer.load_state_dict({**optimizer, "state": states})
        self.progress = Progress(**progress)


def _optimizer(model: Qwen2ForCausalLM, weights: Sequence[torch.nn.Parameter]) -> torch.optim.Optimizer:
    parts = {id(weight): "language" for weight in initialisation.language_weights(model)}
    parts |= {id(weight): "constructed" for weight in initialisation.constructed_weights(model)}
    settings: dict[tuple[str, float, float], list[torch.nn.Parameter]] = {}
    for weight in weights:
        part = parts.get(id(weight), "decisions")
        output = part == "language" and weight is model.lm_head.weight
        decay = 0.0 if part == "constructed" or weight.ndim == 1 or output else _DECAY
        settings.setdefault((part, decay, _RARE if output else _EPSILON), []).append(weight)
    groups = [
        {"params": weights, "part": part, "weight_decay": decay, "eps": epsilon}
        for (part, decay, epsilon), weights in settings.items()
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.999))


def _dropout(batch: Batch, model: Qwen2ForCausalLM) -> torch.Tensor:
    """Draw the factor of every entry of the token vectors before the threads begin: their order must not matter."""
    left = torch.empty(*batch.ids.shape, model.config.hidden_size)
    return left.bernoulli_(1 - _DROPOUT) / (1 - _DROPOUT)


def loss_of(
    model: Qwen2ForCausalLM,
    batch: Batch,
    *,
    words: float = 1.0,
    dropout: torch.Tensor | None = None,
    early: bool = False,
) -> torch.Tensor:
    """Return the loss: cross-entropy over options, by their likelihood per token, and over the words of replies.

    Args:
        model: in training.
        batch: of examples.
        words: weight of the words, next to decisions.
        dropout: factor of every entry of the token vectors. *Shape:* (rows, tokens, width)
        early: score as the shipped model scores options (``leaf_costs``).
    """
    costs = leaf_costs(model, batch, dropout, early=early)
    count = int(batch.branches[-1]) + 1
    leaves = int(torch.bincount(batch.branches).max())
    first = torch.searchsorted(batch.branches, torch.arange(count))
    column = torch.arange(len(batch.branches)) - first[batch.branches]
    scores = torch.full((count, leaves), -1e9)
    scores[batch.branches, column] = -costs / batch.sizes
    answers = torch.zeros_like(scores)
    answers[batch.branches, column] = batch.shares
    decisions = answers.new_zeros(count).index_add(0, batch.branches, (~batch.alone).float()) > 0
    picked = (
        cross_entropy(scores[decisions], answers[decisions], reduction="sum") if decisions.any() else costs.sum() * 0
    )
    gold = batch.shares * costs / batch.sizes
    written = _GOLD_WEIGHT * gold[~batch.alone].sum() + _REPLY_WEIGHT * gold[batch.alone].sum()
    return (picked + words * written) / count


def leaf_costs(
    model: Qwen2ForCausalLM, batch: Batch, dropout: torch.Tensor | None = None, *, early: bool = False
) -> torch.Tensor:
    """Return minus the log-likelihood of every leaf. *Shape:* (leaves,).

    Args:
        model: in training.
        batch: of examples.
        dropout: factor of every entry of the token vectors. *Shape:* (rows, tokens, width)
        early: read no layers that were added for replies, and score by the embedding.
    """
    inner = model.model
    hidden = inner.embed_tokens(batch.ids)
    if dropout is not None:
        hidden = hidden * dropout
    turned = inner.rotary_emb(hidden, position_ids=batch.positions)
    for layer in inner.layers[: initialisation.decision_layers(model) if early else None]:
        hidden = layer(hidden, attention_mask=batch.mask, position_embeddings=turned)
    places, place_of = torch.unique(batch.where, return_inverse=True)  # leaves share the place of their first token
    read = inner.norm(hidden).reshape(-1, hidden.shape[-1])[places]
    logits = read @ (inner.embed_tokens if early else model.lm_head).weight.T
    costs = logits.logsumexp(1)[place_of] - logits[place_of, batch.tokens]
    return torch.zeros_like(batch.shares).index_add(0, batch.leaves, costs)
