"""Declaration of what a model is good at."""

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qwen_allinone.errors import ModelNotFoundError

Layout = Literal["text_first", "instruction_first"]


class Capabilities(BaseModel):
    """Settings read from ``capabilities.json`` in a model's folder; the defaults are those of a real Qwen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    layout: Layout = "text_first"
    """Place of a question: behind the text it asks about, or before it."""
    summary: Literal["written", "extractive", "leading"] = "written"
    """Source of summaries: written by the model, the text's own sentences that the model finds most telling, or its
    first ones. Knowledge answers are written with the first, and a passage's own sentences with the others."""
    recall: Literal["written", "quoted"] = "written"
    """Use of memories in chat: in the model's own words, or by quoting what users said of themselves."""
    max_input_tokens: int | None = Field(default=None, ge=16)
    """Longest text that is read whole; longer ones lose their middle. None: any."""
    max_history_messages: int | None = Field(default=None, ge=0)
    """Latest earlier turns that are read; the ones before them are left out. None: all."""
    prior: bool = False
    """Divide decisions by the prior of a content-free text unless the caller says otherwise."""
    decision_layers: int | None = Field(default=None, ge=1)
    """Number of layers after which the model decides, its embedding for an output layer; those behind them only write.
    None: it decides with the layers it writes with."""
    length_normalized: bool = False
    """Compare the log-likelihood per token of the options unless the caller says otherwise."""
    repetition_penalty: float = Field(default=1.1, gt=0, allow_inf_nan=False)
    """Default of chat replies: above 1, tokens that a reply has used already become less likely."""

    @classmethod
    def from_folder(cls, folder: Path) -> "Capabilities":
        """Read the folder's declaration; the defaults where it has none.

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
