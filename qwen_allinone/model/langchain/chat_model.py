"""The LangChain chat model over the shared Qwen."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import ConfigDict, Field

from qwen_allinone import settings
from qwen_allinone.errors import CapabilityError, InputError
from qwen_allinone.model.engine.sampling import SamplingOptions
from qwen_allinone.model.engine.stream import Reply, ReplyStream
from qwen_allinone.model.prompt.messages import message_from_langchain
from qwen_allinone.model.qwen import SharedQwen

_OPTIONS = (frozenset(SamplingOptions.__annotations__) | {"thinking"}) - {"stop"}


class ChatSharedQwen(BaseChatModel):
    """Replies of one shared Qwen as LangChain messages: no echo, real stop texts, token usage.

    Any field of ``SamplingParams`` but ``stop`` can be given here; all of them at call time, where they win.
    ``max_tokens`` is another name of ``max_new_tokens``. A misspelt one is an error.

    Args:
        model: name, folder or URL of a model, as for ``SharedQwen.load``; by default the one that the environment
            names, or the bundled one.
        qwen: a model that is loaded already, instead.

    Raises:
        InputError: both ``model`` and ``qwen`` are given, or both ``max_tokens`` and ``max_new_tokens``.
        ModelNotFoundError: there is no such model.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    qwen: SharedQwen = Field(exclude=True)
    max_new_tokens: int = 256
    min_new_tokens: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    max_repeats: int | None = None
    thinking: bool = False

    def __init__(self, *, model: str | Path | None = None, qwen: SharedQwen | None = None, **fields: Any) -> None:
        if model is not None and qwen is not None:
            raise InputError("give model, a name to load, or qwen, a loaded model; not both")
        shared = SharedQwen.load(model or settings.model_name()) if qwen is None else qwen
        super().__init__(qwen=shared, **_with_own_names(fields))  # type: ignore[call-arg]

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.qwen.name

    @property
    def max_tokens(self) -> int:
        """Longest reply in tokens, under LangChain's name."""
        return self.max_new_tokens

    @property
    def _llm_type(self) -> str:
        return "qwen-allinone"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.model, **{name: getattr(self, name) for name in sorted(_OPTIONS)}}

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with self._begin(messages, stop, kwargs) as stream:
            for piece in stream:
                if run_manager:
                    run_manager.on_llm_new_token(piece)
            reply = stream.reply
        message = AIMessage(reply.text, usage_metadata=_usage(reply), response_metadata=self._metadata(reply))
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        with self._begin(messages, stop, kwargs) as stream:
            for piece in stream:
                chunk = ChatGenerationChunk(message=AIMessageChunk(content=piece))
                if run_manager:
                    run_manager.on_llm_new_token(piece, chunk=chunk)
                yield chunk
            reply = stream.reply
        end = AIMessageChunk(
            content="", usage_metadata=_usage(reply), response_metadata=self._metadata(reply), chunk_position="last"
        )
        yield ChatGenerationChunk(message=end)

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> Runnable[LanguageModelInput, AIMessage]:  # noqa: ARG002
        """Refuse: a model this small cannot be trusted to call tools; decide with ``PromptRouter`` instead.

        Raises:
            CapabilityError: always.
        """
        raise CapabilityError(
            "ChatSharedQwen does not call tools; let PromptRouter decide, or use a larger model as the agent"
        )

    def _begin(self, messages: Sequence[BaseMessage], stop: list[str] | None, options: dict[str, Any]) -> ReplyStream:
        if not messages:
            raise InputError("there are no messages to reply to; give at least one")
        given = _with_own_names(options)
        if unknown := given.keys() - _OPTIONS:
            raise InputError(
                f"unknown arguments {sorted(unknown)}; allowed: {sorted(_OPTIONS | {'max_tokens', 'stop'})}"
            )
        sampling = {name: getattr(self, name) for name in _OPTIONS} | given
        conversation = self.qwen.chat.with_default_system([message_from_langchain(each) for each in messages])
        return self.qwen.stream_messages(conversation, stop=stop or (), **sampling)

    def _metadata(self, reply: Reply) -> dict[str, Any]:
        return {"model_name": self.qwen.name, "finish_reason": reply.finish_reason}


def _with_own_names(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with LangChain's ``max_tokens`` under its name here."""
    own = dict(options)
    if "max_tokens" in own:
        if "max_new_tokens" in own:
            raise InputError("max_tokens and max_new_tokens are two names of one thing; give one of them")
        own["max_new_tokens"] = own.pop("max_tokens")
    return own


def _usage(reply: Reply) -> UsageMetadata:
    return UsageMetadata(
        input_tokens=reply.prompt_tokens,
        output_tokens=reply.completion_tokens,
        total_tokens=reply.prompt_tokens + reply.completion_tokens,
    )
