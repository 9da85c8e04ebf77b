"""A shared model that notes what it is asked to read, decide and write."""

from collections.abc import Mapping, Sequence
from typing import Any

from qwen_allinone.model import Decision, Message, Question, ReplyStream, SharedQwen


class ListeningQwen(SharedQwen):
    """Does everything for real, and keeps a note of it."""

    def __init__(self, *parts: Any, **options: Any) -> None:
        super().__init__(*parts, **options)
        self.read: list[str] = []
        self.histories: list[Sequence[Message]] = []
        self.replies: list[tuple[list[Message], str]] = []

    def decide(
        self, text: str, questions: Mapping[str, Question], *, history: Sequence[Message] = (), **options: Any
    ) -> dict[str, Decision]:
        """As ever."""
        self.read.append(text)
        self.histories.append(history)
        return super().decide(text, questions, history=history, **options)

    def stream_messages(self, messages: Sequence[Message], *, context: str = "", **options: Any) -> ReplyStream:
        """As ever."""
        self.replies.append((list(messages), context))
        return super().stream_messages(messages, context=context, **options)
