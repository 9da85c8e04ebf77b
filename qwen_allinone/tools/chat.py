"""Chat: a reply that comforts before it solves, and uses what is remembered."""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import run_in_executor
from pydantic import Field

from qwen_allinone.model.prompt.language import Language, language_of
from qwen_allinone.model.prompt.prompt_file import PromptFile
from qwen_allinone.tools.base import History, QwenTool, TextInput
from qwen_allinone.tools.remembered import memory_that_answers

HALF_CHARACTER = "\ufffd"
"""Decoded bytes of half a character, which a small model may write."""
_PROMPT = PromptFile.load("qwen_allinone.tools", "chat")
MAX_REPEATS = 3
"""Times that a piece of a reply may come in a row."""


class ChatInput(TextInput):
    """Words of the user, and what is known besides."""

    history: History = Field(default=[], description="Earlier turns of the conversation.")
    memories: list[str] = Field(default=[], description="What this user said in earlier conversations.")
    comfort: bool = Field(default=False, description="Whether the user is upset and should be comforted first.")


class ChatTool(QwenTool):
    """Writes a reply; streams it piece by piece.

    For a model that cannot take up what is remembered in words of its own (``recall`` in its capabilities), a question
    is answered by quoting the first memory in which users speak of themselves and ask nothing, if there is one.
    """

    name: str = "chat"
    description: str = "Reply to what a user says, kindly and briefly."
    args_schema: Any = ChatInput
    max_new_tokens: int = 128
    repetition_penalty: float | None = None
    """None: as the model declares."""

    @staticmethod
    def context(language: Language, *, memories: Sequence[str] = (), comfort: bool = False) -> str:
        """Return what the model is told behind the text; it never becomes part of the history."""
        notes = [_PROMPT.render(language, "comfort")] if comfort else []
        if memories:
            lines = "\n".join(f"- {memory}" for memory in memories)
            notes.append(_PROMPT.render(language, "memories", memories=lines))
        return "\n".join(notes)

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[str]:
        """Yield the reply piece by piece; leaving the loop cancels it."""
        pieces = self._transform_stream_with_config(iter([input]), self._stream, config, run_type="tool", **kwargs)
        yield from pieces

    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[str]:
        """Yield the same without blocking the event loop."""
        pieces, end = self.stream(input, config, **kwargs), object()
        while (piece := await run_in_executor(config, next, pieces, end)) is not end:
            yield str(piece)

    def _run(self, text: str, **fields: Any) -> str:
        return "".join(self._reply(ChatInput(text=text, **fields)))

    def _stream(self, inputs: Iterator[Any]) -> Iterator[str]:
        for input in inputs:
            yield from self._reply(ChatInput.model_validate({"text": input} if isinstance(input, str) else input))

    def _reply(self, said: ChatInput) -> Iterator[str]:
        language = language_of(said.text)
        if quoted := self._quoted(said, language):
            yield quoted
            return
        declared = self.qwen.capabilities.repetition_penalty
        with self.qwen.stream(
            said.text,
            history=said.history,
            context=self.context(language, memories=said.memories, comfort=said.comfort),
            max_new_tokens=self.max_new_tokens,
            min_new_tokens=1,
            repetition_penalty=declared if self.repetition_penalty is None else self.repetition_penalty,
            max_repeats=MAX_REPEATS,
        ) as pieces:
            yield from stripped(piece.replace(HALF_CHARACTER, "") for piece in pieces)

    def _quoted(self, said: ChatInput, language: Language) -> str | None:
        """Return a reply that quotes a memory; None if the model writes its own, or no memory answers."""
        if self.qwen.capabilities.recall == "written":
            return None
        memory = memory_that_answers(said.text, said.memories)
        if memory is None:
            return None
        words = " ".join(self.qwen.truncate(memory).text.split()).rstrip("。.")
        return _PROMPT.render(language, "quoted_gently" if said.comfort else "quoted", memory=words)


def stripped(pieces: Iterable[str]) -> Iterator[str]:
    """Pass a reply on without the white space around it, holding back what may be its end."""
    begun, space = False, ""
    for piece in pieces:
        words = piece.rstrip()
        if not words:
            space += piece
            continue
        yield space + words if begun else words.lstrip()
        begun, space = True, piece[len(words) :]
