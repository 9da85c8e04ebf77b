"""Order of a conversation: persona, earlier turns, text."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from qwen_allinone.errors import EmptyTextError
from qwen_allinone.model.prompt.chatml import ChatML
from qwen_allinone.model.prompt.language import Language
from qwen_allinone.model.prompt.messages import Message, MessageLike, as_messages
from qwen_allinone.model.prompt.prompt_file import PromptFile

_PERSONA = PromptFile.load("qwen_allinone.model", "persona")


@dataclass(frozen=True)
class TruncatedText:
    """A text as far as the model reads it."""

    text: str
    truncated_tokens: int = 0
    """Tokens left out of the middle; 0: the text is whole."""


class PromptLayout:
    """Lays out what decisions and replies read.

    Args:
        chat: counts tokens.
        max_input_tokens: longest text that is read whole; None: any.
        max_history_messages: latest earlier turns that are read; None: all.
    """

    def __init__(
        self, chat: ChatML, *, max_input_tokens: int | None = None, max_history_messages: int | None = None
    ) -> None:
        self._chat = chat
        self._max_input_tokens = max_input_tokens
        self._max_history_messages = max_history_messages

    def truncate(self, text: str) -> TruncatedText:
        """Return the text whole, or without its middle if it exceeds the limit that the model declares."""
        limit = self._max_input_tokens
        if limit is None or len(text.encode("utf-8", "surrogatepass")) <= limit:  # a token has at least one byte
            return TruncatedText(text)
        ids = self._chat.encode(text)
        if len(ids) <= limit:
            return TruncatedText(text)
        # A text's beginning and end say most about it.
        half = limit // 2
        head, tail = self._chat.decode(ids[:half]), self._chat.decode(ids[-half:])
        return TruncatedText(f"{head.rstrip(chr(0xFFFD))} … {tail.lstrip(chr(0xFFFD))}", len(ids) - 2 * half)

    def conversation(self, text: str, history: Sequence[MessageLike], language: Language) -> list[Message]:
        """Return persona, the latest earlier turns and the text, as much of each as the model bears.

        Raises:
            EmptyTextError: the text is blank.
        """
        if not text.strip():
            raise EmptyTextError("the text is empty; give at least one character that is not white space")
        first = 0 if self._max_history_messages is None else max(0, len(history) - self._max_history_messages)
        turns = as_messages(history[first:]) if history else ()
        return [persona(language), *turns, Message("user", self.truncate(text).text)]


@cache
def persona(language: Language) -> Message:
    """Return the system turn that every conversation begins with."""
    return Message("system", _PERSONA.render(language, "persona"))


def with_system(messages: Sequence[Message], words: str) -> list[Message]:
    """Return the conversation with these words at the end of its system turn, or in a system turn of their own."""
    if messages and messages[0].role == "system":
        return [Message("system", f"{messages[0].content}\n\n{words}"), *messages[1:]]
    return [Message("system", words), *messages]
