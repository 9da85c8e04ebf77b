"""Which prompt fits this input, and send it there."""

from typing import TYPE_CHECKING, Any

from qwen_allinone.router.route import Route, builtin_routes, routes_in

if TYPE_CHECKING:
    from qwen_allinone.router.router import PromptRouter, Routed

__all__ = ["PromptRouter", "Route", "Routed", "builtin_routes", "routes_in"]


def __getattr__(name: str) -> Any:
    """Import the router, and torch with it, only when it is asked for."""
    if name in {"PromptRouter", "Routed"}:
        from qwen_allinone.router import router

        return getattr(router, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
