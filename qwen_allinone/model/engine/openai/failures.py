"""Failures of a server, turned into the errors of this package."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import openai

from qwen_allinone.errors import (
    CapabilityError,
    InputError,
    ModelBusyError,
    ModelNotFoundError,
    QwenAllInOneError,
    ServerError,
    TextTooLongError,
)

MAX_SHOWN = 200
"""Characters of a server's own words that an error repeats."""
_NO_SUCH = (ModelNotFoundError, "has no such model or endpoint: {}")
_NO_ENTRY = (InputError, "refuses the key: {}; set QWEN_ALLINONE_API_KEY")
_BY_STATUS: dict[int, tuple[type[QwenAllInOneError], str]] = {
    401: _NO_ENTRY,
    403: _NO_ENTRY,
    404: _NO_SUCH,
    405: _NO_SUCH,
    413: (TextTooLongError, "finds the text too long: {}"),
    429: (ModelBusyError, "is busy: {}; try again later"),
    501: _NO_SUCH,
}
_TOO_LONG = re.compile("context|too long|too many tokens", re.IGNORECASE)


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Surround a request, and turn the client's exceptions into errors of this package.

    Raises:
        CapabilityError: the server does not do what was asked.
        InputError: it refuses the key.
        ModelBusyError: it has too much to do.
        ModelNotFoundError: it has no such model or endpoint.
        ServerError: it cannot be reached, times out, fails, or returns an invalid response.
        TextTooLongError: the text does not fit.
    """
    try:
        yield
    except QwenAllInOneError:
        raise
    except Exception as error:  # an invalid response makes the client raise nearly anything
        kind, told = _kind(error)
        raise kind(f"the server at {url} {told.format(_said(error))}") from error


def _kind(error: Exception) -> tuple[type[QwenAllInOneError], str]:
    if isinstance(error, openai.APITimeoutError):
        return ServerError, "timed out: {} give a longer timeout, or see its log"
    if isinstance(error, openai.APIConnectionError):
        return ServerError, "cannot be reached, or hung up: {} Is it running?"
    if not isinstance(error, openai.APIStatusError):
        return ServerError, "returned an invalid response: {}"
    if error.status_code >= 500 and error.status_code not in _BY_STATUS:
        return ServerError, "failed: {}; see its log"
    refused = (TextTooLongError, "finds the text too long: {}") if _TOO_LONG.search(_said(error)) else None
    return _BY_STATUS.get(error.status_code) or refused or (CapabilityError, "does not do this: {}")


def _said(error: Exception) -> str:
    words = error.response.text if isinstance(error, openai.APIStatusError) else str(error)
    return (words.strip() or str(error) or type(error).__name__).splitlines()[0][:MAX_SHOWN]
