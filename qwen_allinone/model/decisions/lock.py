"""A fitted question as a file: what was measured holds for this model and these examples, and for no others."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any
from uuid import uuid4

from pydantic import ValidationError

from qwen_allinone.errors import LockError
from qwen_allinone.model.decisions.decision import Threshold
from qwen_allinone.model.decisions.examples import shortened
from qwen_allinone.model.decisions.questions import Choice, examples_of

FORMAT = 1


@dataclass(frozen=True)
class DecisionLock:
    """A question with its examples, the model that it was fitted on, and the threshold from which it decides."""

    question: Choice
    model: str
    """Name of the model, for people."""
    model_digest: str
    """``SharedQwen.digest`` of the model."""
    threshold: Threshold = field(default_factory=Threshold)
    figures: Mapping[str, Any] = field(default_factory=dict)
    """What was measured out of fold."""

    @property
    def examples_digest(self) -> str:
        """Digest of the examples and of what they belong to."""
        examples = examples_of(self.question)
        return "" if examples is None else examples.digest

    def require(self, model_digest: str, question: Choice | None = None) -> None:
        """Check that this lock was made with a model, and for a question.

        Args:
            model_digest: ``SharedQwen.digest`` of the model at hand.
            question: that is about to be asked; None: that of the lock.

        Raises:
            LockError: it was made with another model, or for another question.
        """
        if model_digest != self.model_digest:
            raise LockError(
                f"the lock was made with other weights, or in another precision ({self.model}); "
                "fit again with the model at hand"
            )
        if question is not None and question != self.question:
            asked = shortened(str(question.instructions))
            raise LockError(f"the lock is of another question or of other examples than {asked!r}; fit again")

    def save(self, path: str | PathLike[str]) -> None:
        """Write the file, whole or not at all.

        Raises:
            LockError: it cannot be written.
        """
        content = {
            "format": FORMAT,
            "model": self.model,
            "model_digest": self.model_digest,
            "examples_digest": self.examples_digest,
            "threshold": asdict(self.threshold),
            "figures": dict(self.figures),
            "question": self.question.model_dump(mode="json"),
        }
        file = Path(path)
        unfinished = file.with_name(f".{uuid4().hex}-{file.name}")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
            unfinished.replace(file)
        except OSError as error:
            with suppress(OSError):
                unfinished.unlink()
            raise LockError(f"{path} cannot be written: {error.strerror or error}; name another file") from error

    @classmethod
    def from_file(cls, path: str | PathLike[str]) -> "DecisionLock":
        """Read a lock.

        Raises:
            LockError: the file cannot be read, is no lock, or was changed by hand.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            if content["format"] != FORMAT:
                raise LockError(f"{path} is a lock of format {content['format']!r}, this version reads {FORMAT}")
            lock = cls(
                Choice.model_validate(content["question"]),
                str(content["model"]),
                str(content["model_digest"]),
                Threshold(**content["threshold"]),
                content["figures"],
            )
            digest = content["examples_digest"]
        except OSError as error:
            raise LockError(f"{path} cannot be read: {error.strerror or error}; fit writes such a file") from error
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            if isinstance(error, LockError):
                raise
            raise LockError(f"{path} is no lock, or is cut short; fit again") from error
        if lock.examples_digest != digest:
            raise LockError(f"the examples in {path} were changed since they were measured; fit again")
        return lock
