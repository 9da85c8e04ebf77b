"""What a model is declared to be good at."""

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qwen_allinone.errors import ModelNotFoundError

Layout = Literal["text_first", "instruction_first"]


class Capabilities(BaseModel):
    """Read from ``capabilities.json`` in a model's folder; the defaults are those of a real Qwen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    layout: Layout = "text_first"
    """Where a question stands: behind the text it asks about, or before it."""
    summary: Literal["written", "extractive", "leading"] = "written"
    """Whether summaries are written, are the text's own sentences that the model finds most telling, or are its first
    ones. Knowledge answers are written with the first, and a passage's own sentences with the others."""
    recall: Literal["written", "quoted"] = "written"
    """Whether chat takes up what is remembered in words of its own, or answers questions by quoting what users said of
    themselves."""
    reading_tokens: int | None = Field(default=None, ge=16)
    """Up to how many tokens of a text are read at once; longer texts are cut in their middle. None: all."""
    prior: bool = False
    """Whether decisions are divided by the prior of a content-free text unless the caller says otherwise."""
    decision_layers: int | None = Field(default=None, ge=1)
    """After how many of its layers the model decides, its embedding for an output layer; those behind them only write.
    None: it decides with what it writes with."""
    per_token: bool = False
    """Whether decisions compare the likelihood per token of the options unless the caller says otherwise."""

    repetition_penalty: float = Field(default=1.1, gt=0, allow_inf_nan=False)
    """Of chat replies: above 1, what a reply has said already becomes less likely."""

    @classmethod
    def of_folder(cls, folder: Path) -> "Capabilities":
        """What the folder declares; the defaults where it declares nothing.

        Raises:
            ModelNotFoundError: the file is there but not valid.
        """
        path = folder / "capabilities.json"
        if not path.is_file():
            return cls()
        try:
            return cls.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            raise ModelNotFoundError(f"{path} is not valid: {field}: {first['msg']}") from error
        except (OSError, ValueError, RecursionError) as error:
            raise ModelNotFoundError(f"{path} is not valid: {error}") from error
