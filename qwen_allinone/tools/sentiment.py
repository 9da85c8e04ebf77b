"""Mood: positive or negative with its probability, and how strong it is."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Annotated, Any, Literal

from langchain_core.tools import InjectedToolArg
from pydantic import Field

from qwen_allinone.errors import QwenAllInOneError
from qwen_allinone.model import Choice, Decision, Message, Question, Score
from qwen_allinone.model.prompt.language import Language, language_of
from qwen_allinone.model.prompt.prompt_file import PromptFile
from qwen_allinone.tools.base import History, QwenTool, Result, TextInput
from qwen_allinone.tools.examples import examples

MIN_UPSET_PROBABILITY = 0.6
MIN_UPSET_INTENSITY = 2
"""Bounds from which somebody of a negative mood counts as upset."""
_PROMPT = PromptFile.load("qwen_allinone.tools", "sentiment")

Polarity = Literal["positive", "negative"]
POLES: tuple[Polarity, ...] = ("positive", "negative")


class Sentiment(Result):
    """The mood of a text."""

    label: str
    """正面 or 负面 for a Chinese text, positive or negative for an English one."""
    polarity: Polarity
    """The same for programs, whatever the language."""
    probability: float = Field(ge=0, le=1)
    """Probability of the label."""
    intensity: float = Field(ge=1, le=5)
    """Expected strength, from 1 (no feeling) to 5 (very strong)."""

    @classmethod
    def from_decisions(cls, mood: Decision, intensity: Decision) -> "Sentiment":
        """Put the answers to the two questions together."""
        return cls(
            label=mood.option,
            polarity="positive" if by_polarity(mood).option == "positive" else "negative",
            probability=mood.probability,
            intensity=intensity.level + 1,
        )

    @property
    def upset(self) -> bool:
        """True if whoever wrote this should be comforted first."""
        unhappy = self.polarity == "negative" and self.probability >= MIN_UPSET_PROBABILITY
        return unhappy and self.intensity >= MIN_UPSET_INTENSITY

    def __str__(self) -> str:
        face = "😄" if self.polarity == "positive" else "😟"
        return f"{face} {self.label} {self.probability:.2f}"


class SentimentInput(TextInput):
    """A text, and the conversation that it continues."""

    history: History = Field(default=[], description="Earlier turns of the conversation.")
    sentiment: Annotated[Sentiment | None, InjectedToolArg] = None
    """The mood, where it was decided already as in a turn of the assistant; agents are not told of this field."""


def by_polarity(mood: Decision) -> Decision:
    """Return the answer to the mood question with the options ``positive`` and ``negative`` in either language."""
    named = zip(POLES, mood.probabilities.values(), strict=True)
    return replace(mood, probabilities=dict(named))


@cache
def mood_question(language: Language) -> Choice:
    """Return the question whether the mood is positive (listed first) or negative."""
    return Choice(
        instructions=_PROMPT.render(language, "instructions"),
        criteria={
            str(_PROMPT.entry(language, pole)): _PROMPT.render(language, f"{pole}_description") for pole in POLES
        },
        examples={str(_PROMPT.entry(language, pole)): texts for pole, texts in examples("mood").items()},
    )


@cache
def intensity_question(language: Language) -> Score:
    """Return the question how strong the mood is, in five levels."""
    return Score(
        instructions=_PROMPT.render(language, "intensity"),
        criteria=list(_PROMPT.entry(language, "levels")),
        examples=examples("intensity"),
    )


class SentimentTool(QwenTool):
    """Decides the mood of a text."""

    name: str = "sentiment"
    description: str = "Decide whether the mood of a text is positive or negative, how surely, and how strong it is."
    args_schema: Any = SentimentInput

    @staticmethod
    def questions(text: str) -> Mapping[str, Question]:
        """Return what is asked about the text; ``Sentiment.from_decisions`` puts the two answers together."""
        language = language_of(text)
        return {"mood": mood_question(language), "intensity": intensity_question(language)}

    def polarities(self, texts: Iterable[str]) -> Iterator[Decision | QwenAllInOneError]:
        """Decide many texts, several in one pass; an error takes the place of a decision.

        Yields:
            Decisions between ``positive`` and ``negative``, whatever the language of the text.
        """
        asked = ((text, {"mood": mood_question(language_of(text))}) for text in texts)
        for answer in self.qwen.decide_all(asked, return_exceptions=True):
            yield answer if isinstance(answer, QwenAllInOneError) else by_polarity(answer["mood"])

    def _run(self, text: str, history: Sequence[Message] = (), sentiment: Sentiment | None = None) -> Sentiment:
        if sentiment is not None:
            return sentiment
        return Sentiment.from_decisions(**self.qwen.decide(text, self.questions(text), history=history))
