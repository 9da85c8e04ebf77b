"""Long-term memory and knowledge bases, kept in embedded Chroma."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qwen_allinone.memory.embeddings import Embedder, load_embedder
    from qwen_allinone.memory.knowledge_base import KnowledgeBase, Passage, Source
    from qwen_allinone.memory.long_term import LongTermMemory, Memory, Recalled

__all__ = [
    "Embedder",
    "KnowledgeBase",
    "LongTermMemory",
    "Memory",
    "Passage",
    "Recalled",
    "Source",
    "load_embedder",
]

_HOMES = {
    "Embedder": "embeddings",
    "load_embedder": "embeddings",
    "KnowledgeBase": "knowledge_base",
    "Passage": "knowledge_base",
    "Source": "knowledge_base",
    "LongTermMemory": "long_term",
    "Memory": "long_term",
    "Recalled": "long_term",
}


def __getattr__(name: str) -> Any:
    """Import a store, and LangChain with it, only when it is asked for."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"qwen_allinone.memory.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
