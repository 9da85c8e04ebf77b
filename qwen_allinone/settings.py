"""Defaults from environment variables and what is on this machine, read when they are needed."""

import os
from pathlib import Path

from qwen_allinone import hub_cache
from qwen_allinone.errors import InputError


def model_name() -> str:
    """Return ``QWEN_ALLINONE_MODEL``, else the largest chat model of the hub's local cache, else the bundled model.

    How large it may be: ``hub_cache.MAX_DEFAULT_PARAMETERS``.
    """
    given = os.environ.get("QWEN_ALLINONE_MODEL")
    if given:
        return given
    best = hub_cache.best_chat_model()
    return "bundled" if best is None else best.name


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
