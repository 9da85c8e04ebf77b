"""Intent: one of the caller's candidates for what a request wants."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field

from qwen_allinone.errors import QuestionError
from qwen_allinone.model import Calibration, Choice, Threshold
from qwen_allinone.model.prompt.language import Language, language_of
from qwen_allinone.model.prompt.prompt_file import PromptFile
from qwen_allinone.tools.base import QwenTool, Result, TextInput
from qwen_allinone.tools.examples import examples as shipped_examples

_PROMPT = PromptFile.load("qwen_allinone.tools", "intent")


class IntentInput(TextInput):
    """A request and what it may want."""

    candidates: dict[str, str | None] | list[str] | None = Field(
        default=None, description="Labels, or labels with descriptions; None: the tool's own list of everyday services."
    )


class Intent(Result):
    """The intent of a request."""

    label: str
    probability: float = Field(ge=0, le=1)
    probabilities: dict[str, float]
    accepted: bool
    """False: no candidate was sure enough."""

    def __str__(self) -> str:
        return f"{self.label} {self.probability:.2f}{'' if self.accepted else ' ?'}"


class IntentTool(QwenTool):
    """Picks the intent of a request from a list."""

    name: str = "intent"
    description: str = "Pick what a request wants done, from the caller's list of candidates."
    args_schema: Any = IntentInput
    candidates: dict[str, str | None] | list[str] | None = None
    """The default list; None: the one in the tool's prompt file, in the language of the text."""
    examples: dict[str, tuple[str, ...]] = Field(default={}, repr=False)
    """Label to requests of that intent, from which the model learns; the tool's own list has its own."""
    threshold: Threshold = Threshold(probability=0.5)
    """Below it the answer is marked as not sure."""
    calibration: Calibration | None = None
    """None: as the model declares, and divided by the prior, because candidates differ widely in how likely they are
    before anything is read."""

    @property
    def corrections(self) -> Calibration:
        """Calibration in use."""
        return self.calibration or replace(self.qwen.calibration, prior=True)

    @staticmethod
    def question(
        language: Language,
        candidates: Mapping[str, str | None] | list[str] | None = None,
        examples: Mapping[str, Sequence[str]] | None = None,
    ) -> Choice:
        """Return the question which of the candidates the text is, by default of the list of everyday services.

        Args:
            language: of the question.
            candidates: labels, or labels with descriptions.
            examples: label to requests of that intent; those of labels that are not candidates are left aside.

        Raises:
            QuestionError: there are no candidates, or two are the same.
        """
        listed = _PROMPT.entry(language, "candidates") if candidates is None else candidates
        if len(set(listed)) < len(listed):
            raise QuestionError(f"intent candidates must be distinct; given: {list(listed)}")
        criteria: dict[str, Any] = dict(listed) if isinstance(listed, Mapping) else dict.fromkeys(listed)
        if not criteria:
            raise QuestionError("intent candidates are empty; give at least one label")
        own = _services(language) if candidates is None else examples or {}
        known = {label: tuple(texts) for label, texts in own.items() if label in criteria}
        return Choice(instructions=_PROMPT.render(language, "instructions"), criteria=criteria, examples=known)

    def _run(self, text: str, candidates: Mapping[str, str | None] | list[str] | None = None) -> Intent:
        listed = self.candidates if candidates is None else candidates
        question = self.question(language_of(text), listed, self.examples)
        answers = self.qwen.decide(text, {"intent": question}, threshold=self.threshold, calibration=self.corrections)
        decision = answers["intent"]
        return Intent(
            label=decision.option,
            probability=decision.probability,
            probabilities=dict(decision.probabilities),
            accepted=decision.accepted,
        )


def _services(language: Language) -> dict[str, tuple[str, ...]]:
    """Return the examples of the everyday services under their names in a language; those of both languages teach."""
    names = zip(_PROMPT.entry("en", "candidates"), _PROMPT.entry(language, "candidates"), strict=True)
    return {label: shipped_examples("intent")[name] for name, label in names}
