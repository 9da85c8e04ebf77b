"""Defaults that the environment sets, read when they are needed."""

import os
from pathlib import Path


def model_name() -> str:
    """``QWEN_ALLINONE_MODEL``, or the bundled model."""
    return os.environ.get("QWEN_ALLINONE_MODEL") or "bundled"


def embedder_name() -> str:
    """``QWEN_ALLINONE_EMBEDDER``, or the bundled embedder."""
    return os.environ.get("QWEN_ALLINONE_EMBEDDER") or "bundled"


def home() -> Path:
    """Where memories and knowledge bases are kept: ``QWEN_ALLINONE_HOME``, or ``~/.qwen-allinone``."""
    given = os.environ.get("QWEN_ALLINONE_HOME")
    return Path(given).expanduser() if given else Path.home() / ".qwen-allinone"
