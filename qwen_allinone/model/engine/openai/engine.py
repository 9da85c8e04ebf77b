"""The model on an OpenAI-compatible server."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from qwen_allinone.errors import CapabilityError, InputError
from qwen_allinone.model.engine.base import GenerateRequest, Pending, Reading, ReadRequest, ScoreRequest, Scores
from qwen_allinone.model.engine.capabilities import Capabilities
from qwen_allinone.model.engine.openai.address import Address
from qwen_allinone.model.engine.openai.client import Client
from qwen_allinone.model.engine.openai.generation import ServerGeneration
from qwen_allinone.model.engine.openai.parallel import start_all
from qwen_allinone.model.engine.openai.scoring import ServerScorer
from qwen_allinone.model.engine.stream import ReplyStream
from qwen_allinone.model.prompt.chatml import ChatML
from qwen_allinone.model.prompt.layout import with_system
from qwen_allinone.model.prompt.messages import Message

_CONTEXT_WINDOW = 4096
"""Assumed where the server does not tell its own."""


class OpenAIEngine:
    """Scores and generates with one model on a server; safe to use from many threads.

    Args:
        address: of the server; names the model unless there is only one.
        chat: counts tokens, where the server does not tell.
        api_key: sent with every request.
        timeout: seconds without a byte after which a request has failed; it is tried twice.
        capabilities: declared for the model.

    Raises:
        InputError: the URL, the key or the timeout makes no sense.
        ModelNotFoundError: the server has several models and none was named.
        ServerError: the server cannot be reached.
    """

    def __init__(
        self,
        address: Address,
        chat: ChatML,
        *,
        api_key: str | None = None,
        timeout: float = 60.0,
        capabilities: Capabilities | None = None,
    ) -> None:
        if not timeout > 0:
            raise InputError(f"timeout must be above 0 seconds, given {timeout}")
        key = (api_key or "").strip()
        if not (key.isascii() and key.isprintable()):
            raise InputError("the key of a server has characters that no key has; see QWEN_ALLINONE_API_KEY")
        self.chat = chat
        self.capabilities = capabilities or Capabilities(layout="instruction_first", repetition_penalty=1)
        self._client = Client(address, api_key=key or None, timeout=timeout)
        self._scorer = ServerScorer(self._client, self.capabilities.layout)
        self.address = Address(address.url, self._client.model)
        """Of the server, with the name of the model."""

    digest = ""
    layers = 0
    heads: Path | None = None

    @property
    def context_window(self) -> int:
        """Most tokens that a prompt and its reply have together, as far as the server tells."""
        return self._client.context_window or _CONTEXT_WINDOW

    def read(self, requests: Sequence[ReadRequest]) -> Sequence[Pending[Reading]]:
        """Refuse: the API has no hidden states.

        Raises:
            CapabilityError: always, unless nothing is asked for.
        """
        if requests:
            raise CapabilityError(f"{self.address} gives no hidden states; load a model in memory")
        return []

    def score(self, requests: Sequence[ScoreRequest]) -> Sequence[Pending[Scores]]:
        """Score the options of each request, some requests at a time."""
        return start_all(self._scorer.score, requests)

    def generate(self, request: GenerateRequest) -> ReplyStream:
        """Begin a reply.

        Raises:
            CapabilityError: the API lacks one of the sampling parameters.
        """
        messages = request.messages
        if request.context and self.capabilities.layout == "instruction_first":
            messages = with_system(messages, request.context)
        elif request.context:
            messages = [*messages, Message("system", request.context)]
        generation = ServerGeneration(
            self._client, replace(request, messages=messages, context=""), lambda text: len(self.chat.encode(text))
        )
        return ReplyStream(generation)

    def clear_cache(self) -> None:
        """Drop encoded turns; what the server keeps is its own business."""
        self.chat.clear_cache()
