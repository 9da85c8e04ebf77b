"""Errors of torch that mean "out of memory", turned into one that helps."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from qwen_allinone.errors import ModelMemoryError

_SIGNS = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc")


@contextmanager
def memory_errors_explained(tokens: int) -> Iterator[None]:
    """Surround a forward pass.

    Args:
        tokens: read by the pass.

    Raises:
        ModelMemoryError: in place of the errors that torch raises when there is no memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and not any(sign in str(error) for sign in _SIGNS):
            raise
        raise ModelMemoryError(
            f"out of memory at a pass of {tokens} tokens; shorten the text or the history, lower max_batch_tokens or "
            "the prefix cache's max_bytes of the local engine, or load the model with precision='int8'"
        ) from error
