"""Errors of this package, and the exit code or HTTP status of each kind.

    QwenAllInOneError
    ├── InputError            the caller gave something that cannot work: exit code 2, HTTP 4xx
    │   ├── EmptyTextError        the text is empty or blank
    │   ├── TextTooLongError      the text does not fit into the context window
    │   ├── QuestionError         a question or its options make no sense
    │   ├── PromptFileError       a prompt or route file is broken
    │   ├── UnknownRouteError     no route of that name
    │   ├── LockError             a lock file cannot be used: broken, or of another model or question
    │   ├── NotSureError          the router is to raise where it is not sure
    │   ├── ModelNotFoundError    no model under that name, or its folder is broken
    │   ├── CapabilityError       the model or engine cannot do what was asked
    │   │   └── NotLocalError             the model is on a server, and not in this process
    │   ├── DataFileError         a data file cannot be read as asked
    │   ├── StoreError            the data folder cannot be used (read-only, broken)
    │   └── MissingExtraError     an optional dependency is not installed
    └── RunError              the request was fine, the run failed: exit code 1, HTTP 5xx
        ├── ModelBusyError        too many requests are waiting for the model
        ├── ModelMemoryError      there is not enough memory for a pass of the model
        ├── ServerError           a remote model's server or the hub is down, timed out, or sent an invalid response
        └── StoreBusyError        another process holds the data folder

A message is one line: what was given, what is allowed, what to do.
"""


class QwenAllInOneError(Exception):
    """Root of the tree: catch this to catch every error that this package raises on purpose."""


class InputError(QwenAllInOneError, ValueError):
    """The caller gave something that cannot work; trying again unchanged is useless."""


class EmptyTextError(InputError):
    """The text is empty or holds nothing but white space."""


class TextTooLongError(InputError):
    """The text does not fit into the model's context window."""


class QuestionError(InputError):
    """A question has no options, duplicate options, or blank ones."""


class PromptFileError(InputError):
    """A prompt or route file is not valid, or one of its variables is missing or unknown."""


class UnknownRouteError(InputError):
    """A route was named that the router does not have."""


class LockError(InputError):
    """A lock file cannot be read or written, or was made with another model or for another question."""


class NotSureError(InputError):
    """A decision was not accepted, and its router was told to raise then; the decision is its second argument."""


class ModelNotFoundError(InputError):
    """There is no model under the given name, or its folder is incomplete or broken."""


class CapabilityError(InputError):
    """The loaded model or engine declares that it cannot do what was asked."""


class NotLocalError(CapabilityError, AttributeError):
    """Only a model in this process has what was asked for; an ``AttributeError`` too, so that ``hasattr`` works."""


class DataFileError(InputError):
    """A data file is missing, is not UTF-8, or lacks the columns that were named."""


class StoreError(InputError):
    """The folder of the memory or knowledge base cannot be read or written."""


class MissingExtraError(InputError):
    """An optional dependency is needed; the message names the exact install line."""


class RunError(QwenAllInOneError, RuntimeError):
    """The request was fine but carrying it out failed."""


class ModelBusyError(RunError):
    """Too many requests are waiting for the model; it is worth trying again later."""


class ModelMemoryError(RunError):
    """There was not enough memory for a pass of the model; the message names what makes it smaller."""


class ServerError(RunError):
    """The server of a remote model, or the hub, cannot be reached, timed out, or returned an invalid response."""


class StoreBusyError(RunError):
    """Another process kept the data folder locked for longer than the wait allowed."""
