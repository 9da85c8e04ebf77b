"""Defaults from environment variables, read when they are needed."""

import os
from pathlib import Path

from qwen_allinone.errors import InputError


def model_name() -> str:
    """Return ``QWEN_ALLINONE_MODEL``, or the bundled model."""
    return os.environ.get("QWEN_ALLINONE_MODEL") or "bundled"


def embedder_name() -> str:
    """Return ``QWEN_ALLINONE_EMBEDDER``, or the bundled embedder."""
    return os.environ.get("QWEN_ALLINONE_EMBEDDER") or "bundled"


def precision() -> str:
    """Return ``QWEN_ALLINONE_PRECISION``, or ``auto``."""
    return os.environ.get("QWEN_ALLINONE_PRECISION") or "auto"


def api_key() -> str | None:
    """Return ``QWEN_ALLINONE_API_KEY``, for a model on a server; None if it needs none."""
    return os.environ.get("QWEN_ALLINONE_API_KEY") or None


def home() -> Path:
    """Return the folder of memories and knowledge bases: ``QWEN_ALLINONE_HOME``, or ``~/.qwen-allinone``.

    Raises:
        InputError: the variable names the home of an unknown user.
    """
    return _folder("QWEN_ALLINONE_HOME", ".qwen-allinone")


def cache() -> Path:
    """Return the folder of int8 weights and fitted heads: ``QWEN_ALLINONE_CACHE``, or ``~/.cache/qwen-allinone``.

    Raises:
        InputError: the variable names the home of an unknown user.
    """
    return _folder("QWEN_ALLINONE_CACHE", ".cache/qwen-allinone")


def _folder(variable: str, default: str) -> Path:
    given = os.environ.get(variable)
    try:
        return Path(given).expanduser() if given else Path.home() / default
    except RuntimeError as error:
        raise InputError(f"{variable} is {given!r}: {error}; set it to a folder") from error
