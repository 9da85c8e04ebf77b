"""A Qwen on a server, behind the interface of the one in memory."""

from collections.abc import Sequence
from typing import Any, Unpack

from transformers import AutoTokenizer

from qwen_allinone import settings
from qwen_allinone.errors import CapabilityError, InputError
from qwen_allinone.model.capabilities import Capabilities
from qwen_allinone.model.chatml import ChatML, Message
from qwen_allinone.model.decider import Decider
from qwen_allinone.model.loading import bundled_folder
from qwen_allinone.model.prompt_layout import PromptLayout, with_system
from qwen_allinone.model.remote.address import Address
from qwen_allinone.model.remote.generation import ServerGeneration
from qwen_allinone.model.remote.likelihoods import ServerLikelihoods
from qwen_allinone.model.remote.server import Server
from qwen_allinone.model.reply import ReplyStream
from qwen_allinone.model.shared import SharedQwen
from qwen_allinone.model.writing import Writing, WritingOptions

_CONTEXT_WINDOW = 4096
"""Where the server does not tell its own."""
_ONLY_IN_MEMORY = {
    "model": "weights",
    "tokenizer": "tokenizer",
    "pipeline": "pipeline",
    "precision": "precision",
    "_cache": "prefix cache",
    "_scorer": "scorer",
}


class RemoteQwen(SharedQwen):
    """A model on an OpenAI-compatible server; ``SharedQwen.load`` gives one for a URL.

    Lengths are counted with the bundled tokenizer, which makes more tokens of a text than those of larger models.

    Args:
        url: of the server, with ``#NAME`` of the model where it has several.
        api_key: by default ``QWEN_ALLINONE_API_KEY``.
        timeout: seconds without a byte after which a request has failed; it is tried twice.
        capabilities: what the model is declared to be good at.

    Raises:
        InputError: the URL, the key or the timeout makes no sense.
        ModelNotFoundError: the server has several models and none was named.
        ServerError: the server cannot be reached.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = 60.0,
        capabilities: Capabilities | None = None,
    ) -> None:
        if not timeout > 0:
            raise InputError(f"timeout must be above 0 seconds, given {timeout}")
        address = Address.of(url)
        key = (api_key or settings.api_key() or "").strip()
        if not (key.isascii() and key.isprintable()):
            raise InputError("the key of a server has characters that no key has; see QWEN_ALLINONE_API_KEY")
        self._server = Server(address, api_key=key or None, timeout=timeout)
        self.name = str(Address(address.url, self._server.model))
        self.capabilities = capabilities or Capabilities(layout="instruction_first", repetition_penalty=1)
        self.chat = ChatML(AutoTokenizer.from_pretrained(bundled_folder(), trust_remote_code=False))
        self._prompts = PromptLayout(self.chat, self.capabilities, self.context_window)
        self._decider = Decider(self._prompts, ServerLikelihoods(self._server, self.capabilities.layout))

    def __getattr__(self, name: str) -> Any:
        """Refuse by name what only a model in memory has."""
        if name in _ONLY_IN_MEMORY:
            raise CapabilityError(
                f"{self.name} is on a server, which keeps its {_ONLY_IN_MEMORY[name]} to itself; load a model in memory"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def context_window(self) -> int:
        """Tokens that a prompt and its reply may have together, as far as the server tells."""
        return self._server.context_window or _CONTEXT_WINDOW

    def forget(self) -> None:
        """Drop the priors that were kept; what the server keeps is its own business."""
        self._decider.forget()

    def stream_reply(
        self, messages: Sequence[Message], *, notes: str = "", thinking: bool = False, **options: Unpack[WritingOptions]
    ) -> ReplyStream:
        """Begin a reply to a conversation that is laid out already."""
        if notes and self.capabilities.layout == "instruction_first":
            messages = with_system(messages, notes)
        elif notes:
            messages = [*messages, Message("system", notes)]
        generation = ServerGeneration(
            self._server,
            messages,
            Writing(**options),
            thinking=thinking,
            count=lambda text: len(self.chat.encode(text)),
        )
        return ReplyStream(generation)
