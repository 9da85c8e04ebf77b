"""Chat: a reply that soothes before it solves, and uses what is remembered."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import run_in_executor
from pydantic import Field

from qwen_allinone.model import Message
from qwen_allinone.model.language import Language, language_of
from qwen_allinone.model.prompt_file import PromptFile
from qwen_allinone.tools.tool import QwenTool, TextInput

_PROMPT = PromptFile.load("qwen_allinone.tools", "chat")


class ChatInput(TextInput):
    """What the user says, and what is known besides."""

    history: list[Message] = Field(default_factory=list, description="Earlier turns of the conversation.")
    memories: list[str] = Field(default_factory=list, description="What this user said in earlier conversations.")
    soothe: bool = Field(default=False, description="Whether the user is upset and should be comforted first.")


class ChatTool(QwenTool):
    """Writes a reply; streams it piece by piece."""

    name: str = "chat"
    description: str = "Reply to what a user says, kindly and briefly."
    args_schema: Any = ChatInput
    max_new_tokens: int = 128
    repetition_penalty: float | None = None
    """None: as the model declares."""

    @staticmethod
    def notes(language: Language, *, memories: Sequence[str] = (), soothe: bool = False) -> str:
        """What the model is told behind the text; it never becomes part of the history."""
        notes = [_PROMPT.render(language, "soothe")] if soothe else []
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
            declared = self.qwen.capabilities.repetition_penalty
            with self.qwen.stream(
                fields.text,
                history=fields.history,
                notes=self.notes(language_of(fields.text), memories=fields.memories, soothe=fields.soothe),
                max_new_tokens=self.max_new_tokens,
                min_new_tokens=1,
                repetition_penalty=declared if self.repetition_penalty is None else self.repetition_penalty,
            ) as pieces:
                yield from pieces
