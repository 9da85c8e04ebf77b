"""Work that waits for the model."""

from abc import abstractmethod
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import KW_ONLY, dataclass, field
from typing import Generic, Self, TypeVar

from qwen_allinone.model.engine.base import Features
from qwen_allinone.model.engine.local.packing import BranchedPrompt, BranchScores
from qwen_allinone.model.engine.local.runner import ModelRunner, Span

Result = TypeVar("Result")


@dataclass(eq=False)
class Call(Generic[Result]):
    """A call that needs the model for itself."""

    call: Callable[[], Result]
    future: "Future[Result]" = field(default_factory=Future)


@dataclass(eq=False)
class Job(Generic[Result]):
    """A prompt that may share a pass with others of its kind and group."""

    _: KW_ONLY
    cache_prefix: bool = True
    """Keep the KV cache of the prompt; False: one of very many, which nobody comes back to."""
    group: Hashable = None
    future: "Future[Result]" = field(default_factory=Future)

    @property
    @abstractmethod
    def prefix(self) -> tuple[int, ...]:
        """Tokens whose KV cache may be known."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of tokens in the pass."""

    @classmethod
    @abstractmethod
    def run(cls, runner: ModelRunner, jobs: Sequence[Self]) -> Sequence[Result]:
        """Run all of them in one pass; return the results in their order."""


@dataclass(eq=False)
class ScoreJob(Job[BranchScores]):
    """A prompt whose branches are scored."""

    prompt: BranchedPrompt

    @property
    def prefix(self) -> tuple[int, ...]:
        """Tokens up to the branch point."""
        return self.prompt.prefix

    @property
    def size(self) -> int:
        """Number of tokens of prefix and branches."""
        return self.prompt.size

    @classmethod
    def run(cls, runner: ModelRunner, jobs: Sequence[Self]) -> Sequence[BranchScores]:
        """Score all of them in one pass."""
        return runner.score([job.prompt for job in jobs], keep=jobs[0].cache_prefix)


@dataclass(eq=False)
class ReadJob(Job[Features]):
    """A prompt whose hidden states are taken; all of a group after the same layer."""

    prompt: tuple[int, ...]
    span: Span
    """Place of the text in the prompt."""
    layer: int

    @property
    def prefix(self) -> tuple[int, ...]:
        """The whole prompt."""
        return self.prompt

    @property
    def size(self) -> int:
        """Number of tokens of the prompt."""
        return len(self.prompt)

    @classmethod
    def run(cls, runner: ModelRunner, jobs: Sequence[Self]) -> Sequence[Features]:
        """Read all of them in one pass."""
        prompts, spans = [job.prompt for job in jobs], [job.span for job in jobs]
        return runner.read(prompts, spans, layer=jobs[0].layer, keep=jobs[0].cache_prefix)
