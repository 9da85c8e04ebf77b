"""The command line ``qwen-allinone``."""

from qwen_allinone.cli.app import app, main

__all__ = ["app", "main"]
