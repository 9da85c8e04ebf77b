"""The shared Qwen behind the interfaces of LangChain."""
