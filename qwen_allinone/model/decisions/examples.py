"""Labelled texts from which a decision is learned."""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from qwen_allinone.errors import QuestionError

MAX_EXAMPLES = 20_000
"""Examples of one question; more take minutes to read and teach next to nothing."""
MIN_PER_OPTION = 2
"""Examples of an option without which nothing can be told out of fold."""


@dataclass(frozen=True)
class Examples:
    """Texts of the options of a question.

    Raises:
        QuestionError: an option is not one of the question's, a text is blank or stands under two options, or there are
            too many.
    """

    by_option: Mapping[str, Sequence[str]]
    """Option to its texts; one that is given several times weighs as often."""
    described: Mapping[str, str] = field(default_factory=dict)
    """Option without texts to its description, which stands in for them."""

    def __post_init__(self) -> None:
        owners: dict[str, str] = {}
        for option, texts in self.by_option.items():
            for text in texts:
                if not text.strip():
                    raise QuestionError(f"an example of {option!r} is blank; write a text or leave it out")
                owner = owners.setdefault(text.strip(), option)
                if owner != option:
                    raise QuestionError(
                        f"{shortened(text)!r} is an example of {owner!r} and of {option!r}; keep it under one of them"
                    )
        if len(owners) > MAX_EXAMPLES:
            raise QuestionError(f"{len(owners)} examples are too many; give at most {MAX_EXAMPLES}")

    @classmethod
    def of_options(
        cls, by_option: Mapping[str, Sequence[str]], descriptions: Mapping[str, str | None], *, describe: bool
    ) -> "Examples | None":
        """Return the examples of a question; None if there are none.

        Args:
            by_option: option to its texts.
            descriptions: every option of the question to its description.
            describe: let descriptions stand in for missing texts; otherwise an option without texts is never chosen.
        """
        unknown = sorted(set(by_option) - set(descriptions))
        if unknown:
            raise QuestionError(f"examples are given for {unknown}; the options are {list(descriptions)}")
        if not any(by_option.values()):
            return None
        bare = {option: words or option for option, words in descriptions.items() if not by_option.get(option)}
        return cls(by_option, bare if describe else {})

    @cached_property
    def texts(self) -> Mapping[str, tuple[str, ...]]:
        """Option to its texts, each once; only options that have some.

        Options, and the texts of each, are ordered by what they are: neither names nor the caller's order can matter.
        """
        found = {option: tuple(sorted(set(map(str.strip, texts)))) for option, texts in self.by_option.items() if texts}
        return dict(sorted(found.items(), key=lambda pair: pair[1]))

    @cached_property
    def times(self) -> Mapping[str, int]:
        """Text to the number of times that it was given."""
        found: Counter[str] = Counter()
        for texts in self.by_option.values():
            found.update(map(str.strip, texts))
        return found

    @cached_property
    def options(self) -> tuple[str, ...]:
        """Options with texts, then those that are only described."""
        return *self.texts, *sorted(self.described, key=self.described.__getitem__)

    @cached_property
    def digest(self) -> str:
        """Digest of the texts, their weights and which belong together: the same for a question in two languages."""
        repeated = sorted((text, count) for text, count in self.times.items() if count > 1)
        content = [*self.texts.values(), *sorted(self.described.values()), *repeated]
        return hashlib.sha256(repr(content).encode("utf-8", "surrogatepass")).hexdigest()[:24]

    @property
    def judged(self) -> Collection[str]:
        """Options with enough texts to be judged out of fold."""
        return [option for option, texts in self.texts.items() if len(texts) >= MIN_PER_OPTION]

    @property
    def fewest(self) -> int:
        """Number of texts of the option that has fewest."""
        return min(map(len, self.texts.values()))


def shortened(text: str) -> str:
    """Return the beginning of a text, on one line, for a message."""
    line = " ".join(text.split())
    return line if len(line) <= 40 else f"{line[:40]}…"
