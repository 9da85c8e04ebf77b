"""One small Qwen model, held once in memory, does everything."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qwen_allinone.assistant import Assistant, Turn

__version__ = "0.1.0"
__all__ = ["Assistant", "Turn", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the assistant, and torch with it, only when it is asked for."""
    if name in {"Assistant", "Turn"}:
        from qwen_allinone import assistant

        return getattr(assistant, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
