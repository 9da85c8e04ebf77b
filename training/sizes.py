"""How large a model is, and how long it is trained."""

from dataclasses import dataclass


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
    tokens: int
    """To train on, padding included."""
    learning_rate: float
    """The highest; it climbs for 100 steps, and falls linearly to zero at the end."""
    batch: int
    """Tokens of one step, padding included."""
    window: int = 1024


SIZES = {
    "tiny": Size(6000, 96, 256, 3, 2, bag_steps=20, tokens=6_000_000, learning_rate=2e-3, batch=3000),
    "small": Size(14000, 256, 512, 4, 4, bag_steps=1600, tokens=20_000_000, learning_rate=3e-4, batch=3000),
    "base": Size(14000, 256, 512, 5, 4, bag_steps=3000, tokens=400_000_000, learning_rate=5e-4, batch=12_000),
}
