"""The LangChain chat model over the shared Qwen."""

from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import ConfigDict, Field

from qwen_allinone.errors import CapabilityError, InputError
from qwen_allinone.model.chatml import Message, Role
from qwen_allinone.model.reply import Reply, ReplyStream
from qwen_allinone.model.shared import SharedQwen
from qwen_allinone.model.writing import WritingOptions

_WRITING = frozenset(WritingOptions.__annotations__) - {"stop"}


class ChatQwen(BaseChatModel):
    """Replies of one shared Qwen as LangChain messages: no echo, real stop texts, token usage.

    Any field of ``Writing`` but ``stop`` can be given here; all of them at call time, where they win. A misspelt one is
    an error.
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
        return {"model": self.qwen.name, **{name: getattr(self, name) for name in (*sorted(_WRITING), "thinking")}}

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
            "ChatQwen does not call tools; let PromptRouter decide, or use a larger model as the agent"
        )

    def _begin(self, messages: Sequence[BaseMessage], stop: list[str] | None, options: dict[str, Any]) -> ReplyStream:
        unknown = options.keys() - _WRITING - {"thinking"}
        if not messages:
            raise InputError("there are no messages to reply to; give at least one")
        if unknown:
            raise InputError(f"unknown arguments {sorted(unknown)}; allowed: {sorted(_WRITING | {'stop', 'thinking'})}")
        settings = {name: getattr(self, name) for name in (*_WRITING, "thinking")} | options
        conversation = self.qwen.chat.with_default_system([message_of(each) for each in messages])
        return self.qwen.stream_reply(conversation, stop=stop or (), **settings)

    def _metadata(self, reply: Reply) -> dict[str, Any]:
        return {"model_name": self.qwen.name, "finish_reason": reply.finish_reason}


def message_of(message: BaseMessage) -> Message:
    """A LangChain message as a turn.

    Raises:
        InputError: it is neither of system, human, ai, or holds more than text.
    """
    roles: dict[type[BaseMessage], Role] = {SystemMessage: "system", HumanMessage: "user", AIMessage: "assistant"}
    role = next((role for kind, role in roles.items() if isinstance(message, kind)), None)
    if role is None:
        raise InputError(f"a {message.type!r} message cannot be read; allowed: system, human, ai")
    if isinstance(message, AIMessage) and message.tool_calls:
        raise InputError("tool calls cannot be read; allowed: messages of text")
    return Message(role, _text(message))


def _text(message: BaseMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    kinds = {str(block.get("type")) for block in message.content if isinstance(block, dict)}
    if kinds - {"text"}:
        raise InputError(f"content blocks of type {sorted(kinds - {'text'})} cannot be read; allowed: text")
    return str(message.text)


def _usage(reply: Reply) -> UsageMetadata:
    return UsageMetadata(
        input_tokens=reply.prompt_tokens,
        output_tokens=reply.new_tokens,
        total_tokens=reply.prompt_tokens + reply.new_tokens,
    )
