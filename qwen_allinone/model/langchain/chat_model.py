"""The LangChain chat model over the shared Qwen."""

from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import ConfigDict, Field

from qwen_allinone.errors import CapabilityError, InputError
from qwen_allinone.model.engine.sampling import SamplingOptions
from qwen_allinone.model.engine.stream import Reply, ReplyStream
from qwen_allinone.model.prompt.messages import message_from_langchain
from qwen_allinone.model.qwen import SharedQwen

_SAMPLING = frozenset(SamplingOptions.__annotations__) - {"stop"}


class ChatSharedQwen(BaseChatModel):
    """Replies of one shared Qwen as LangChain messages: no echo, real stop texts, token usage.

    Any field of ``SamplingParams`` but ``stop`` can be given here; all of them at call time, where they win. A misspelt
    one is an error.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    qwen: SharedQwen = Field(exclude=True)
    max_new_tokens: int = 256
    min_new_tokens: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    thinking: bool = False

    @property
    def _llm_type(self) -> str:
        return "qwen-allinone"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.qwen.name, **{name: getattr(self, name) for name in (*sorted(_SAMPLING), "thinking")}}

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
        """Refused: a model this small cannot be trusted to call tools; decide with ``PromptRouter`` instead.

        Raises:
            CapabilityError: always.
        """
        raise CapabilityError(
            "ChatSharedQwen does not call tools; let PromptRouter decide, or use a larger model as the agent"
        )

    def _begin(self, messages: Sequence[BaseMessage], stop: list[str] | None, options: dict[str, Any]) -> ReplyStream:
        unknown = options.keys() - _SAMPLING - {"thinking"}
        if not messages:
            raise InputError("there are no messages to reply to; give at least one")
        if unknown:
            raise InputError(
                f"unknown arguments {sorted(unknown)}; allowed: {sorted(_SAMPLING | {'stop', 'thinking'})}"
            )
        settings = {name: getattr(self, name) for name in (*_SAMPLING, "thinking")} | options
        conversation = self.qwen.chat.with_default_system([message_from_langchain(each) for each in messages])
        return self.qwen.stream_messages(conversation, stop=stop or (), **settings)

    def _metadata(self, reply: Reply) -> dict[str, Any]:
        return {"model_name": self.qwen.name, "finish_reason": reply.finish_reason}


def _usage(reply: Reply) -> UsageMetadata:
    return UsageMetadata(
        input_tokens=reply.prompt_tokens,
        output_tokens=reply.completion_tokens,
        total_tokens=reply.prompt_tokens + reply.completion_tokens,
    )
