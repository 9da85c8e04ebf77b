"""Picks the prompt that fits an input, and sends it there."""

from typing import TYPE_CHECKING, Any

from qwen_allinone.router.corrections import Corrections
from qwen_allinone.router.route import Route, builtin_routes, route_question, routes_in

if TYPE_CHECKING:
    from qwen_allinone.router.router import ASK, PromptRouter, RouteResult

__all__ = [
    "ASK",
    "Corrections",
    "PromptRouter",
    "Route",
    "RouteResult",
    "builtin_routes",
    "route_question",
    "routes_in",
]


def __getattr__(name: str) -> Any:
    """Import the router, and torch with it, only when it is asked for."""
    if name in {"ASK", "PromptRouter", "RouteResult"}:
        from qwen_allinone.router import router

        return getattr(router, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
