"""Shape of the model, and lengths of its training."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Length and speed of a phase."""

    tokens: int
    """Tokens to train on, padding included."""
    rate: float
    """Highest learning rate, of weights that are neither slow nor fast (``train``); it climbs for 100 steps."""
    cooling: float
    """Last part of the training, in which the rate falls to zero."""
    step: int
    """Tokens of one step, padding included."""
    checks: int = 10
    """Number of times that the model is examined and kept, at equal distances."""


@dataclass(frozen=True)
class Size:
    """Shape of a model and its training."""

    vocabulary: int
    width: int
    inner: int
    layers: int
    """Layers of the decisions; two more are added for the replies (``initialisation.grow``)."""
    heads: int
    bag_of_words_steps: int
    """Steps of the pre-training of the embedding alone."""
    both: Schedule
    """Decisions and replies together."""
    decisions: Schedule
    """Alone, after that."""
    replies: Schedule
    """Alone, at last."""
    window: int = 1024


SHIPPED = Size(
    vocabulary=14_000,
    width=256,
    inner=512,
    layers=4,
    heads=4,
    bag_of_words_steps=1600,
    both=Schedule(tokens=19_000_000, rate=3e-4, cooling=0.2, step=3000),
    decisions=Schedule(tokens=1_200_000, rate=8e-4, cooling=0.5, step=3000, checks=2),
    replies=Schedule(tokens=8_000_000, rate=3e-4, cooling=0.4, step=2000),
)
