"""The seam: three requests, their results, and the engine that answers them.

An engine reads texts, scores the options of questions behind them, and generates replies behind them. The local engine
and the one on a server are siblings; whatever one of them lacks it refuses by name with a ``CapabilityError``.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from qwen_allinone.model.engine.capabilities import Capabilities, Layout
from qwen_allinone.model.engine.sampling import SamplingParams
from qwen_allinone.model.engine.stream import ReplyStream
from qwen_allinone.model.prompt.chatml import ChatML
from qwen_allinone.model.prompt.language import Language
from qwen_allinone.model.prompt.messages import Message

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Result_co = TypeVar("Result_co", covariant=True)


@dataclass(frozen=True, eq=False)
class RenderedQuestion:
    """A question as the model reads it, in one language and one order of its options."""

    text: str
    """The instructions and a line for each option."""
    options: Mapping[str, str]
    """Name of each option to the words that are scored for it, in the order in which they are listed."""
    kind: Literal["choice", "score", "noul"]
    instructions: str
    descriptions: Mapping[str, str | None]
    """Name of each option to its description, in the same order."""


@dataclass(frozen=True)
class ReadRequest:
    """A conversation whose last turn is to be read."""

    messages: Sequence[Message]
    layers: tuple[int, ...]
    """Numbers of layers after which hidden states are taken, from 1; at least one."""
    cache_prefix: bool = True
    """Keep the KV cache of the conversation, so that questions and a reply go on from it."""


@dataclass(frozen=True)
class Features:
    """Hidden states of a text, from the pass that reads it."""

    mean: "NDArray[np.float32]"
    """Mean over the tokens of the text. *Shape:* (hidden_size,)."""
    end: "NDArray[np.float32]"
    """Last token of the closed turn, at which all of the text has been read. *Shape:* (hidden_size,)."""


Reading = Mapping[int, Features]
"""Number of layers to the hidden states after them."""


@dataclass(frozen=True)
class ScoreRequest:
    """A conversation and the questions to score against its last turn."""

    messages: Sequence[Message]
    """Persona, earlier turns and the text."""
    questions: Mapping[Hashable, RenderedQuestion]
    """Under keys of the caller's choice."""
    language: Language
    """Of the frame around the questions."""
    layout: Layout | None = None
    """Place of the questions; None: as the engine declares."""
    length_normalized: bool = False
    """Divide each log-likelihood by the option's number of tokens, the end of the turn included."""
    cache_prefix: bool = True
    """Keep the KV cache of the conversation; False for one of very many texts, which nobody comes back to."""


Scores = Mapping[Hashable, Mapping[str, float]]
"""Key of the question to option to log-likelihood, but for a summand that the options of a question share."""


@dataclass(frozen=True)
class GenerateRequest:
    """A conversation that is to be answered."""

    messages: Sequence[Message]
    sampling: SamplingParams
    context: str = ""
    """Told to the model for this reply only, such as memories; never part of the history or of a cache."""
    thinking: bool = False


class Pending(Protocol[Result_co]):
    """A result that is being computed."""

    def result(self) -> Result_co:
        """Wait for it; raise whatever went wrong."""

    def cancel(self) -> bool:
        """Drop it if it was not begun."""


class Engine(Protocol):
    """Reads, scores and generates with one model; safe to use from many threads."""

    capabilities: Capabilities
    chat: ChatML
    """Encodes, and counts tokens."""
    heads: Path | None
    """Folder of fitted heads that came with the model; None: there is none."""

    @property
    def digest(self) -> str:
        """Digest of the weights and of the precision in which they compute; empty where they are not known."""

    @property
    def layers(self) -> int:
        """Number of layers after which ``read`` gives hidden states; 0: it gives none."""

    @property
    def context_window(self) -> int:
        """Most tokens that a prompt and its reply have together."""

    def read(self, requests: Sequence[ReadRequest]) -> Sequence[Pending[Reading]]:
        """Return hidden states of each text, in the order of the requests.

        Raises:
            CapabilityError: the engine gives none.
        """

    def score(self, requests: Sequence[ScoreRequest]) -> Sequence[Pending[Scores]]:
        """Score the options of each request, in the order of the requests; many share a pass.

        A request that cannot be scored raises from its own result.
        """

    def generate(self, request: GenerateRequest) -> ReplyStream:
        """Begin a reply.

        Raises:
            TextTooLongError: the prompt leaves no room for it.
            ModelBusyError: too many replies are waiting; raised when the first piece is asked for.
        """

    def clear_cache(self) -> None:
        """Drop everything that was read and kept."""
