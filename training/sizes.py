"""How large a model is, and how long it is trained."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """How long and how fast something is trained."""

    tokens: int
    """To train on, padding included."""
    rate: float
    """The highest learning rate, of what is neither slow nor fast (``train``); it climbs for 100 steps, then falls."""
    step: int
    """Tokens of one step, padding included."""


@dataclass(frozen=True)
class Size:
    """Shape of a model and its training."""

    vocabulary: int
    width: int
    inner: int
    layers: int
    """That decide; two more write the replies (``circuit``)."""
    heads: int
    bag_steps: int
    """Of the first training of the embedding alone."""
    both: Schedule
    """Decisions and replies together."""
    replies: Schedule
    """Alone, after that."""
    window: int = 1024


SIZES = {
    "tiny": Size(
        6000,
        96,
        256,
        3,
        2,
        bag_steps=20,
        both=Schedule(4_000_000, 2e-3, 3000),
        replies=Schedule(2_000_000, 4e-4, 3000),
    ),
    "small": Size(
        14_000,
        256,
        512,
        4,
        4,
        bag_steps=1600,
        both=Schedule(14_000_000, 3e-4, 3000),
        replies=Schedule(6_000_000, 3e-4, 2000),
    ),
    "base": Size(
        14_000,
        256,
        512,
        4,
        4,
        bag_steps=3000,
        both=Schedule(300_000_000, 5e-4, 12_000),
        replies=Schedule(100_000_000, 3e-4, 12_000),
    ),
}
