"""Chat: a reply that soothes before it solves, and uses what is remembered."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import run_in_executor
from pydantic import Field

from qwen_allinone.model import Message
from qwen_allinone.model.prompt.language import Language, language_of
from qwen_allinone.model.prompt.prompt_file import PromptFile
from qwen_allinone.tools.remembered import memory_that_answers
from qwen_allinone.tools.tool import QwenTool, TextInput

_PROMPT = PromptFile.load("qwen_allinone.tools", "chat")
_HALF = "\ufffd"
"""What stands for the bytes of half a character, which a small model may write."""


class ChatInput(TextInput):
    """What the user says, and what is known besides."""

    history: list[Message] = Field(default_factory=list, description="Earlier turns of the conversation.")
    memories: list[str] = Field(default_factory=list, description="What this user said in earlier conversations.")
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
    def notes(language: Language, *, memories: Sequence[str] = (), comfort: bool = False) -> str:
        """What the model is told behind the text; it never becomes part of the history."""
        notes = [_PROMPT.render(language, "comfort")] if comfort else []
        if memories:
            lines = "\n".join(f"- {memory}" for memory in memories)
            notes.append(_PROMPT.render(language, "memories", memories=lines))
        return "\n".join(notes)

    def stream(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Iterator[str]:
        """The pieces of the reply; leaving the loop cancels it."""
        yield from self._transform_stream_with_config(iter([input]), self._pieces, config, run_type="tool")

    async def astream(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> AsyncIterator[str]:
        """The same without blocking the event loop."""
        pieces, end = self.stream(input, config), object()
        while (piece := await run_in_executor(config, next, pieces, end)) is not end:
            yield str(piece)

    def _run(self, text: str, **fields: Any) -> str:
        return "".join(self._pieces(iter([{"text": text} | fields]))).strip()

    def _pieces(self, inputs: Iterator[Any]) -> Iterator[str]:
        for input in inputs:
            fields = ChatInput.model_validate({"text": input} if isinstance(input, str) else input)
            if quoted := self._quoted(fields):
                yield quoted
                continue
            declared = self.qwen.capabilities.repetition_penalty
            with self.qwen.stream(
                fields.text,
                history=fields.history,
                context=self.notes(language_of(fields.text), memories=fields.memories, comfort=fields.comfort),
                max_new_tokens=self.max_new_tokens,
                min_new_tokens=1,
                repetition_penalty=declared if self.repetition_penalty is None else self.repetition_penalty,
            ) as pieces:
                yield from filter(None, (piece.replace(_HALF, "") for piece in pieces))

    def _quoted(self, fields: ChatInput) -> str | None:
        """A reply that quotes a memory; None if the model writes its own, or nothing is asked or worth quoting."""
        if self.qwen.capabilities.recall == "written":
            return None
        memory = memory_that_answers(fields.text, fields.memories)
        if memory is None:
            return None
        words = " ".join(self.qwen.truncate(memory).text.split()).rstrip("。.")
        return _PROMPT.render(language_of(fields.text), "quoted_gently" if fields.comfort else "quoted", memory=words)
