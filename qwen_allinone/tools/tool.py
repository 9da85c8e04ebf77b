"""What all tools share: the one model, and a text as typed input."""

from langchain_core.tools import BaseTool
from pydantic import BaseModel, ConfigDict, Field

from qwen_allinone.model import SharedQwen


class TextInput(BaseModel):
    """A text to work on."""

    text: str = Field(description="The text to work on, in Chinese or English.")


class Result(BaseModel):
    """What a tool answers: typed for programs, and one readable line as ``str()``."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class QwenTool(BaseTool):
    """A LangChain tool over the shared Qwen; being a Runnable, it composes like any other.

    ``invoke`` takes the text alone or a mapping with the fields of the tool's input.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    qwen: SharedQwen = Field(exclude=True, repr=False)
