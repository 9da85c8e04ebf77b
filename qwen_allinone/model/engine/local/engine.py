"""The model in this process."""

import hashlib
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from qwen_allinone.errors import QwenAllInOneError, TextTooLongError
from qwen_allinone.model.engine.base import (
    GenerateRequest,
    Pending,
    Reading,
    ReadRequest,
    RenderedQuestion,
    ScoreRequest,
    Scores,
)
from qwen_allinone.model.engine.capabilities import Capabilities, Layout
from qwen_allinone.model.engine.local.cloned_runner import ClonedRunner
from qwen_allinone.model.engine.local.packing import Branch, BranchedPrompt
from qwen_allinone.model.engine.local.prefix_cache import PrefixCache
from qwen_allinone.model.engine.local.reply import LocalGeneration
from qwen_allinone.model.engine.local.runner import ModelRunner
from qwen_allinone.model.engine.local.scheduler import Job, Scheduler
from qwen_allinone.model.engine.stream import ReplyStream
from qwen_allinone.model.prompt.chatml import ChatML
from qwen_allinone.model.prompt.layout import with_system
from qwen_allinone.model.prompt.messages import Message

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

T = TypeVar("T")

_WIDE = 512
"""Hidden size of a model that fills the cores with short passes already."""
_SAMPLES = 64
"""Numbers of each tensor that the digest of the weights reads."""


class LocalEngine:
    """Reads, scores and generates with weights in memory; safe to use from many threads.

    Args:
        model: the weights.
        tokenizer: of the model.
        capabilities: declared by the model; by default those of a real Qwen.
        prefix_cache: KV cache of what was read; by default one of 256 MiB.
        max_batch_tokens: most tokens of a pass, padding included, unless a single text has more; by default as many as
            are fastest on two cores for a model of that size.
        threaded: False: nothing runs but what ``scheduler.step()`` runs.
        heads: folder of fitted heads that came with the model.

    Raises:
        CapabilityError: the model cannot decide after the layers that its capabilities name.
    """

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        *,
        capabilities: Capabilities | None = None,
        prefix_cache: PrefixCache | None = None,
        max_batch_tokens: int | None = None,
        threaded: bool = True,
        heads: Path | None = None,
    ) -> None:
        from transformers import GenerationConfig

        self.model = model
        self.tokenizer = tokenizer
        self.capabilities = capabilities or Capabilities()
        self.heads = heads
        self.chat = ChatML(tokenizer)
        self.prefix_cache = prefix_cache or PrefixCache()
        stops = self.chat.stop_ids
        model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
            eos_token_id=list(stops), pad_token_id=stops[-1]
        )
        runner = ModelRunner if _has_full_attention(model) else ClonedRunner
        self.runner = runner(model, self.prefix_cache, decision_layers=self.capabilities.decision_layers)
        size = max_batch_tokens or (1024 if model.config.get_text_config().hidden_size >= _WIDE else 4096)
        self.scheduler = Scheduler(self.runner, max_batch_tokens=size, threaded=threaded)
        self._branches: WeakKeyDictionary[RenderedQuestion, Branch] = WeakKeyDictionary()

    @property
    def context_window(self) -> int:
        """Most tokens that a prompt and its reply have together."""
        return int(self.model.config.get_text_config().max_position_embeddings)

    @property
    def layers(self) -> int:
        """Number of layers after which ``read`` gives hidden states."""
        return int(self.model.config.get_text_config().num_hidden_layers)

    @cached_property
    def digest(self) -> str:
        """Digest of samples of all weights, as they are in memory."""
        digest = hashlib.sha256(type(self.model).__name__.encode())
        for name, tensor in self.model.state_dict().items():
            flat = tensor.detach().reshape(-1)
            sample = flat[:: max(1, len(flat) // _SAMPLES)][:_SAMPLES]
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(sample.float().cpu().numpy().tobytes())
        return digest.hexdigest()[:24]

    @property
    def packs_branches(self) -> bool:
        """True if all options share one row of a pass; those of other than full attention go on from clones."""
        return self.runner.packs

    def read(self, requests: Sequence[ReadRequest]) -> Sequence[Pending[Reading]]:
        """Return hidden states of each request's last turn; many share a pass.

        They come from the pass that fills the KV cache, and are kept with it: read before a decision or a reply, they
        cost nothing extra.
        """
        pending: list[Future[Reading]] = []
        jobs: list[Job] = []
        for request in requests:
            try:
                job = self._read_job(request)
            except QwenAllInOneError as error:
                pending.append(_failed(error))
            else:
                jobs.append(job)
                pending.append(job.future)
        self.scheduler.submit(_in_order(jobs))
        return pending

    def score(self, requests: Sequence[ScoreRequest]) -> Sequence[Pending[Scores]]:
        """Score the options of each request; many share a pass."""
        pending: list[Pending[Scores]] = []
        jobs: list[Job] = []
        for request in requests:
            try:
                prompts = self._prompts(request)
            except QwenAllInOneError as error:
                pending.append(_failed(error))
                continue
            beginning = _beginning(request)
            own = [Job(prompt, cache_prefix=request.cache_prefix, beginning=beginning) for prompt in prompts]
            jobs += own
            pending.append(_PendingScores(request, tuple(own)))
        self.scheduler.submit(_in_order(jobs))
        return pending

    def score_one_by_one(self, request: ScoreRequest) -> Scores:
        """Score by a whole forward pass per option: slow, and what ``score`` must equal."""
        jobs = tuple(Job(prompt) for prompt in self._prompts(request))
        for job in jobs:
            job.future.set_result(self.run_alone(partial(self.runner.score_one_by_one, job.prompt)))
        return _PendingScores(request, jobs).result()

    def generate(self, request: GenerateRequest) -> ReplyStream:
        """Begin a reply, which goes on from what was read of the conversation."""
        opening = self.chat.opening(thinking=request.thinking)
        # The context of a reply stands behind the branch point, so it enters no cache that a later turn goes on from.
        if request.context and self.capabilities.layout == "instruction_first":  # nothing of it comes again
            prompt = [*self.chat.turns(with_system(request.messages, request.context)), *opening]
            branch_point = 0
        else:
            prefix = self.chat.turns(request.messages)
            context = self.chat.turn(Message("system", request.context)) if request.context else []
            prompt, branch_point = [*prefix, *context, *opening], len(prefix)
        room = self.context_window - len(prompt)
        if room < max(1, request.sampling.min_new_tokens):
            raise TextTooLongError(
                f"the prompt has {len(prompt)} tokens, the model's context window {self.context_window}; "
                "shorten the text"
            )
        generation = LocalGeneration(
            self.scheduler.add,
            self.chat,
            request.sampling,
            prompt=prompt,
            branch_point=branch_point,
            cache_reply=not request.context,
            max_tokens=min(room, request.sampling.max_new_tokens),
        )
        return ReplyStream(generation)

    def run_alone(self, call: Callable[[], T]) -> T:
        """Run something that uses the model by itself, between two steps of the scheduler."""
        return self.scheduler.call(call).result()

    def clear_cache(self) -> None:
        """Drop everything that was read and kept: needed only when the weights were changed in place."""
        self.prefix_cache.clear()
        self.__dict__.pop("digest", None)
        self.chat.clear_cache()
        self._branches.clear()

    def _read_job(self, request: ReadRequest) -> Job:
        before = self.chat.turns(request.messages[:-1])
        turn = self.chat.turns(request.messages[-1:])
        # The turn is encoded as one segment: its header has as many tokens as it has alone.
        header = len(self.chat.encode(f"{request.messages[-1].role}\n"))
        start, end = len(before) + 1 + header, len(before) + turn.index(self.chat.end_of_turn, 1)
        self._require_room(len(before) + len(turn))
        return Job(
            BranchedPrompt(tuple(before + turn)),
            request.layers,
            (min(start, end - 1), end),  # a text that merges with its header still has its last token
            cache_prefix=request.cache_prefix,
            beginning=_beginning(request),
        )

    def _prompts(self, request: ScoreRequest) -> list[BranchedPrompt]:
        """Lay the questions out: all behind the text in one prompt, or each before the text in its own."""
        layout: Layout = request.layout or self.capabilities.layout
        if layout == "text_first":
            branches = tuple(self._branch(question) for question in request.questions.values())
            prompts = [BranchedPrompt(tuple(self.chat.turns(request.messages)), branches)]
        else:
            prompts = []
            for question in request.questions.values():
                before = self.chat.turns(with_system(request.messages, question.text))
                branch = Branch((*before, *self.chat.opening()), self._candidates(question))
                prompts.append(BranchedPrompt((), (branch,)))
        self._require_room(max(each.longest for each in prompts))
        return prompts

    def _branch(self, question: RenderedQuestion) -> Branch:
        """Encode a question that stands behind the text; the same question is encoded once."""
        branch = self._branches.get(question)
        if branch is None:
            suffix = [*self.chat.turn(Message("system", question.text)), *self.chat.opening()]
            # Kept as long as the decider keeps the rendered question, and no longer.
            branch = self._branches[question] = Branch(tuple(suffix), self._candidates(question))
        return branch

    def _candidates(self, question: RenderedQuestion) -> tuple[tuple[int, ...], ...]:
        return tuple((*self.chat.encode(words), self.chat.end_of_turn) for words in question.options.values())

    def _require_room(self, tokens: int) -> None:
        if tokens > self.context_window:
            raise TextTooLongError(
                f"text and question have {tokens} tokens, the model's context window {self.context_window}; "
                "shorten the text"
            )


@dataclass(frozen=True)
class _PendingScores:
    """Scores of one request, from the one or several prompts that it became."""

    request: ScoreRequest
    jobs: tuple[Job, ...]

    def result(self) -> Scores:
        # In the instruction-first layout each question became a prompt of its own.
        branches: list[Branch] = []
        scores: list[tuple[float, ...]] = []
        for job in self.jobs:
            branches += job.prompt.branches
            scores += job.future.result()
        found: dict[Hashable, dict[str, float]] = {}
        for (key, question), branch, logs in zip(self.request.questions.items(), branches, scores, strict=True):
            found[key] = dict(zip(question.options, logs, strict=True))
            if self.request.length_normalized:
                for option, tokens in zip(question.options, branch.candidates, strict=True):
                    found[key][option] /= len(tokens)
        return found

    def cancel(self) -> bool:
        cancelled = [job.future.cancel() for job in self.jobs]
        return all(cancelled)


def _has_full_attention(model: "PreTrainedModel") -> bool:
    layer_types: Iterable[str] = getattr(model.config.get_text_config(), "layer_types", None) or ()
    return set(layer_types) <= {"full_attention"}


def _beginning(request: ReadRequest | ScoreRequest) -> str:
    """Return the persona of one of very many conversations, with which it shares a pass; otherwise nothing."""
    return "" if request.cache_prefix else request.messages[0].content


def _in_order(jobs: list[Job]) -> list[Job]:
    """Sort those of very many texts, so that neighbours begin alike and are of like length; leave the others."""
    return sorted(jobs, key=lambda job: ("", 0) if job.cache_prefix else (job.beginning, job.prompt.size))


def _failed(error: QwenAllInOneError) -> "Future[T]":
    future: Future[T] = Future()
    future.set_exception(error)
    return future
