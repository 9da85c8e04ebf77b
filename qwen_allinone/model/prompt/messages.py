"""Turns of a conversation, and the shapes in which LangChain users have them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from qwen_allinone.errors import InputError

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = get_args(Role)
_ROLE_OF_TYPE: Mapping[str, Role] = {
    "system": "system",
    "human": "user",
    "HumanMessageChunk": "user",
    "SystemMessageChunk": "system",
    "ai": "assistant",
    "AIMessageChunk": "assistant",
}


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


MessageLike: TypeAlias = "Message | BaseMessage | tuple[str, str] | Mapping[str, Any]"
"""A turn in any shape that is accepted where a history is: ours, LangChain's, ``("human", text)`` or
``{"role": ..., "content": ...}``."""


def as_messages(history: Sequence[MessageLike]) -> list[Message]:
    """Convert turns of any accepted shape.

    Raises:
        InputError: it is no list, or a turn has another role than system, user and assistant, or holds more than text.
    """
    if isinstance(history, str) or not isinstance(history, Sequence):
        raise InputError(f"a history is a list of turns; given {type(history).__name__}")
    return [each if isinstance(each, Message) else _converted(each) for each in history]


def message_from_langchain(message: "BaseMessage") -> Message:
    """Convert a LangChain message.

    Raises:
        InputError: it is neither of system, human, ai, or holds more than text.
    """
    role = _ROLE_OF_TYPE.get(message.type)
    if role is None:
        raise InputError(f"a {message.type!r} message cannot be read; allowed: system, human, ai")
    if getattr(message, "tool_calls", None):
        raise InputError("tool calls cannot be read; allowed: messages of text")
    return Message(role, _text(message))


def _converted(turn: Any) -> Message:
    from langchain_core.messages import convert_to_messages

    try:
        (message,) = convert_to_messages([turn])
    except (ValueError, NotImplementedError, TypeError, KeyError) as error:
        raise InputError(
            f"a turn of type {type(turn).__name__!r} cannot be read; give a message, a pair such as ('human', 'hi'), "
            f"or a mapping with role and content"
        ) from error
    return message_from_langchain(message)


def _text(message: "BaseMessage") -> str:
    if isinstance(message.content, str):
        return message.content
    kinds = {str(block.get("type")) for block in message.content if isinstance(block, dict)}
    if kinds - {"text"}:
        raise InputError(f"content blocks of type {sorted(kinds - {'text'})} cannot be read; allowed: text")
    return str(message.text)
