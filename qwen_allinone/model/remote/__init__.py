"""The same Qwen on an OpenAI-compatible server: for more users than one machine holds."""
