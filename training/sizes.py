"""How large a model is, and how long it is trained."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """How long and how fast something is trained."""

    tokens: int
    """To train on, padding included."""
    rate: float
    """The highest learning rate, of what is neither slow nor fast (``train``); it climbs for 100 steps."""
    cooling: float
    """Last part of the training, in which the rate falls to zero."""
    step: int
    """Tokens of one step, padding included."""
    checks: int = 10
    """How often, at equal distances, it is examined and kept."""


@dataclass(frozen=True)
class Size:
    """Shape of a model and its training."""

    vocabulary: int
    width: int
    inner: int
    layers: int
    """Of the decisions; two more are added for the replies (``circuit.grow``)."""
    heads: int
    bag_steps: int
    """Of the first training of the embedding alone."""
    both: Schedule
    """Decisions and replies together."""
    decisions: Schedule
    """Alone, after that."""
    replies: Schedule
    """Alone, at last."""
    window: int = 1024


SIZES = {
    "tiny": Size(
        6000,
        96,
        256,
        3,
        2,
        bag_steps=20,
        both=Schedule(tokens=4_000_000, rate=2e-3, cooling=0.2, step=3000),
        decisions=Schedule(tokens=400_000, rate=8e-4, cooling=0.5, step=3000, checks=2),
        replies=Schedule(tokens=2_000_000, rate=4e-4, cooling=0.4, step=3000),
    ),
    "small": Size(
        14_000,
        256,
        512,
        4,
        4,
        bag_steps=1600,
        both=Schedule(tokens=19_000_000, rate=3e-4, cooling=0.2, step=3000),
        decisions=Schedule(tokens=1_200_000, rate=8e-4, cooling=0.5, step=3000, checks=2),
        replies=Schedule(tokens=8_000_000, rate=3e-4, cooling=0.4, step=2000),
    ),
    "base": Size(
        14_000,
        256,
        512,
        4,
        4,
        bag_steps=3000,
        both=Schedule(tokens=300_000_000, rate=5e-4, cooling=0.2, step=12_000),
        decisions=Schedule(tokens=20_000_000, rate=8e-4, cooling=0.5, step=12_000),
        replies=Schedule(tokens=100_000_000, rate=5e-4, cooling=0.4, step=12_000),
    ),
}
