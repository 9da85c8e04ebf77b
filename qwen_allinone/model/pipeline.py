"""The transformers text-generation pipeline through which every reply runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import RLock
from typing import TYPE_CHECKING, Any

import torch
from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase, TextGenerationPipeline

from qwen_allinone.model.chatml import Message

if TYPE_CHECKING:
    from transformers.utils.chat_template_utils import Chat


@dataclass(frozen=True)
class TokenPrompt:
    """A prompt that is token ids already."""

    ids: tuple[int, ...]


class QwenPipeline(TextGenerationPipeline):
    """Takes token ids, chats and strings; one call at a time generates.

    A string is what one user says: it becomes a user turn in which control tokens are plain characters, so that
    ``HuggingFacePipeline(pipeline=qwen.pipeline)`` is safe in a chain that formats a user's words into a prompt.

    Args:
        model: the shared weights.
        tokenizer: their tokenizer.
        encode: turns messages into the token ids of a prompt that ends where the reply begins.
        lock: held while the model runs.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        encode: Callable[[Sequence[Message]], list[int]],
        lock: RLock,
    ) -> None:
        super().__init__(model=model, tokenizer=tokenizer, device=model.device)
        self._encode = encode
        self._lock = lock

    def preprocess(self, prompt_text: "TokenPrompt | Chat | str", prefix: str = "", **_: Any) -> BatchEncoding:
        """Token ids as tensors. *Shape:* (1, seq_len)."""
        if isinstance(prompt_text, TokenPrompt):
            ids = list(prompt_text.ids)
        elif isinstance(prompt_text, str):
            ids = self._encode([Message("user", prefix + prompt_text)])
        else:
            ids = self._encode([Message(turn["role"], turn["content"]) for turn in prompt_text.messages])
        input_ids = torch.tensor([ids])
        encoding = BatchEncoding({"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)})
        encoding["prompt_text"] = prompt_text
        return encoding

    def _forward(self, model_inputs: Any, **generate_kwargs: Any) -> Any:
        with self._lock:
            return super()._forward(model_inputs, **generate_kwargs)
