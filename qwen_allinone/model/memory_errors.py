"""Out of memory, said in a way that helps."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from qwen_allinone.errors import ModelMemoryError

_SIGNS = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc")


@contextmanager
def memory_explained(tokens: int) -> Iterator[None]:
    """Around a pass of the model.

    Args:
        tokens: that it reads.

    Raises:
        ModelMemoryError: in place of what torch raises when there is no memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and not any(sign in str(error) for sign in _SIGNS):
            raise
        raise ModelMemoryError(
            f"out of memory at a pass of {tokens} tokens; shorten the text or the history, lower batch_tokens of "
            "decide_all or SharedQwen.cache_bytes, or load the model with precision='int8'"
        ) from error
