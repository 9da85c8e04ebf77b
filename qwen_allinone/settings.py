"""Defaults that the environment sets, read when they are needed."""

import os
from pathlib import Path

from qwen_allinone.errors import InputError


def model_name() -> str:
    """``QWEN_ALLINONE_MODEL``, or the bundled model."""
    return os.environ.get("QWEN_ALLINONE_MODEL") or "bundled"


def embedder_name() -> str:
    """``QWEN_ALLINONE_EMBEDDER``, or the bundled embedder."""
    return os.environ.get("QWEN_ALLINONE_EMBEDDER") or "bundled"


def home() -> Path:
    """Where memories and knowledge bases are kept: ``QWEN_ALLINONE_HOME``, or ``~/.qwen-allinone``.

    Raises:
        InputError: the variable names the home of an unknown user.
    """
    given = os.environ.get("QWEN_ALLINONE_HOME")
    try:
        return Path(given).expanduser() if given else Path.home() / ".qwen-allinone"
    except RuntimeError as error:
        raise InputError(f"QWEN_ALLINONE_HOME is {given!r}: {error}; set it to a folder") from error
