"""Base of the tools: the one model, a text as typed input, a typed result."""

from typing import Annotated

from langchain_core.tools import BaseTool
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from qwen_allinone.model import Message, SharedQwen
from qwen_allinone.model.prompt.messages import as_messages

History = Annotated[list[Message], BeforeValidator(as_messages)]
"""Earlier turns: messages of this package or of LangChain, pairs such as ``("human", "hi")``, or mappings."""


class TextInput(BaseModel):
    """A text to work on."""

    text: str = Field(description="The text to work on, in Chinese or English.")


class Result(BaseModel):
    """Answer of a tool: typed for programs, and one readable line as ``str()``."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class QwenTool(BaseTool):
    """A LangChain tool over the shared Qwen; being a Runnable, it composes like any other.

    ``invoke`` takes the text alone or a mapping with the fields of the tool's input.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    qwen: SharedQwen = Field(exclude=True, repr=False)
