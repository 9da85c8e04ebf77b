"""What the model was trained on, as the floors learn it and as replies may copy it."""

from collections.abc import Iterable

from training import grammar
from training.examples import written
from training.exclusions import unjudged
from training.sources import Source

Labelled = tuple[str, str]
"""A text and its label."""


def written_sources() -> list[Source]:
    """All that was written for the training, less what is judged."""
    return unjudged([*written(), *grammar.drawn(seed=0)])


def mood_rows(sources: Iterable[Source]) -> list[Labelled]:
    """Every text that is known to be positive or negative."""
    items = (item for source in sources for item in source.items)
    return [(item.text, item.mood) for item in items if item.mood in ("positive", "negative")]


def route_rows(sources: Iterable[Source]) -> list[Labelled]:
    """Every text of which the routes are known; one that allows several stands under each."""
    return [(item.text, route) for source in sources for item in source.items for route in item.routes]
