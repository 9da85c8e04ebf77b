"""Mood: positive or negative with its probability, and how strong it is."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field

from qwen_allinone.errors import QwenAllInOneError
from qwen_allinone.model import Choice, Decision, Message, Question, Score
from qwen_allinone.model.prompt.language import Language, language_of
from qwen_allinone.model.prompt.prompt_file import PromptFile
from qwen_allinone.tools.tool import QwenTool, Result, TextInput

_PROMPT = PromptFile.load("qwen_allinone.tools", "sentiment")

_SURE, _MILD = 0.6, 2
"""Bounds of probability and intensity from which somebody counts as upset."""

Polarity = Literal["positive", "negative"]


class SentimentInput(TextInput):
    """A text, and the conversation that it continues."""

    history: list[Message] = Field(default_factory=list, description="Earlier turns of the conversation.")


class Sentiment(Result):
    """The mood of a text."""

    label: str
    """正面 or 负面 for a Chinese text, positive or negative for an English one."""
    polarity: Polarity
    probability: float = Field(ge=0, le=1)
    """Of the label."""
    intensity: float = Field(ge=1, le=5)
    """Expected strength, from 1 (no feeling) to 5 (very strong)."""

    @classmethod
    def of(cls, mood: Decision, intensity: Decision) -> "Sentiment":
        """Put the answers to the two questions together."""
        return cls(
            label=mood.option,
            polarity="positive" if by_polarity(mood).option == "positive" else "negative",
            probability=mood.probability,
            intensity=intensity.level + 1,
        )

    @property
    def upset(self) -> bool:
        """Whether whoever wrote this should be comforted first."""
        return self.polarity == "negative" and self.probability >= _SURE and self.intensity >= _MILD

    def __str__(self) -> str:
        face = "😄" if self.polarity == "positive" else "😟"
        return f"{face} {self.label} {self.probability:.2f}"


def by_polarity(mood: Decision) -> Decision:
    """The answer to the mood question with ``positive`` and ``negative`` for its options, whatever their language."""
    named = zip(("positive", "negative"), mood.probabilities.values(), strict=True)
    return replace(mood, probabilities=dict(named))


def mood_question(language: Language) -> Choice:
    """Positive (listed first) or negative."""
    return Choice(
        instructions=_PROMPT.render(language, "instructions"),
        criteria={
            str(_PROMPT.entry(language, pole)): _PROMPT.render(language, f"{pole}_description")
            for pole in ("positive", "negative")
        },
    )


def intensity_question(language: Language) -> Score:
    """How strong the mood is, in five levels."""
    return Score(instructions=_PROMPT.render(language, "intensity"), criteria=list(_PROMPT.entry(language, "levels")))


class SentimentTool(QwenTool):
    """Decides the mood of a text."""

    name: str = "sentiment"
    description: str = "Decide whether the mood of a text is positive or negative, how surely, and how strong it is."
    args_schema: Any = SentimentInput

    @staticmethod
    def questions(text: str) -> Mapping[str, Question]:
        """What is asked about the text; ``Sentiment.of`` puts the two answers together."""
        language = language_of(text)
        return {"mood": mood_question(language), "intensity": intensity_question(language)}

    def polarities(self, texts: Iterable[str]) -> Iterator[Decision | QwenAllInOneError]:
        """``positive`` or ``negative`` for many texts, several in one pass; an error takes the place of a decision."""
        asked = ((text, {"mood": mood_question(language_of(text))}) for text in texts)
        for answer in self.qwen.decide_all(asked, return_exceptions=True):
            yield answer if isinstance(answer, QwenAllInOneError) else by_polarity(answer["mood"])

    def _run(self, text: str, history: Sequence[Message] = ()) -> Sentiment:
        return Sentiment.of(**self.qwen.decide(text, self.questions(text), history=history))
