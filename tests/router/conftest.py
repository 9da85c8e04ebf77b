"""Routers over Runnables that say who ran."""

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda

from qwen_allinone.model import SharedQwen
from qwen_allinone.router import PromptRouter, builtin_routes


def saying(name: str) -> RunnableLambda[Any, Any]:
    """A Runnable that gives its name and its input."""
    return RunnableLambda(lambda input: (name, input), name=name)


@pytest.fixture
def make_router(qwen: SharedQwen) -> Callable[..., PromptRouter]:
    """A router over the four default routes, each with a Runnable of its own."""

    def make(**options: Any) -> PromptRouter:
        runnables = {name: saying(name) for name in ("sentiment", "chat", "intent", "summary")}
        return PromptRouter(options.pop("qwen", qwen), builtin_routes(), **{"runnables": runnables, **options})

    return make


@pytest.fixture
def router(make_router: Callable[..., PromptRouter]) -> PromptRouter:
    """That router with nothing but defaults."""
    return make_router()


@pytest.fixture(scope="session")
def bundled_qwen() -> SharedQwen:
    """The model inside the package."""
    return SharedQwen.load("bundled")
