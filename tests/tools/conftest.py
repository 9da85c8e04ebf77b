"""Models that the tools are tried with: random ones for how they work, the bundled one for what they are worth."""

import pytest
from listening_qwen import ListeningQwen

from qwen_allinone.model import Capabilities, SharedQwen


@pytest.fixture
def extracting(models, tokenizer) -> ListeningQwen:
    """A random model that is declared to pick sentences, and to read 256 tokens at once."""
    return ListeningQwen.from_model(
        models["qwen2"], tokenizer, capabilities=Capabilities(summary="extractive", max_input_tokens=256)
    )


@pytest.fixture
def writing(models, tokenizer) -> ListeningQwen:
    """A random model that is declared to write summaries."""
    return ListeningQwen.from_model(models["qwen2"], tokenizer, capabilities=Capabilities(summary="written"))


@pytest.fixture(scope="session")
def bundled_qwen() -> SharedQwen:
    """The model inside the package."""
    return SharedQwen.load("bundled")
