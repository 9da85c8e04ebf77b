"""The transformers text-generation pipeline through which every reply runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import torch
from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase, TextGenerationPipeline
from transformers.pipelines.text_generation import ReturnType

from qwen_allinone.errors import InputError, TextTooLongError
from qwen_allinone.model.chatml import Message, Role
from qwen_allinone.model.fair_lock import FairLock

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
        lock: FairLock,
    ) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            model=model, tokenizer=tokenizer, device=model.device, task="text-generation"
        )
        self._encode = encode
        self._lock = lock

    def preprocess(  # type: ignore[override]
        self, prompt_text: "TokenPrompt | Chat | str", prefix: str = "", **_: Any
    ) -> BatchEncoding:
        """Token ids as tensors. *Shape:* (1, seq_len).

        Raises:
            InputError: a turn of a chat has another role than system, user and assistant, or is not text.
            TextTooLongError: the prompt leaves no room for a reply.
        """
        if isinstance(prompt_text, TokenPrompt):
            ids = list(prompt_text.ids)
        elif isinstance(prompt_text, str):
            ids = self._encode([Message("user", prefix + prompt_text)])
        else:
            ids = self._encode([_message(turn) for turn in prompt_text.messages])
        window = self.model.config.get_text_config().max_position_embeddings
        if len(ids) >= window:
            raise TextTooLongError(
                f"the prompt has {len(ids)} tokens, the model's context window {window}; shorten the text"
            )
        input_ids = torch.tensor([ids])
        encoding = BatchEncoding({"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)})
        encoding["prompt_text"] = prompt_text
        return encoding

    def postprocess(  # type: ignore[override]
        self, model_outputs: Any, return_type: ReturnType = ReturnType.NEW_TEXT, **options: Any
    ) -> list[dict[str, Any]]:
        """What was written, without the prompt unless ``return_full_text=True`` was asked for."""
        records: list[dict[str, Any]] = super().postprocess(  # type: ignore[no-untyped-call]
            model_outputs, return_type=return_type, **options
        )
        return records

    def _forward(self, model_inputs: Any, **generate_kwargs: Any) -> Any:  # type: ignore[override]
        with self._lock:
            return super()._forward(model_inputs, **generate_kwargs)  # type: ignore[no-untyped-call]


def _message(turn: Mapping[str, Any]) -> Message:
    role, content = turn["role"], turn["content"]
    if role not in get_args(Role) or not isinstance(content, str):
        raise InputError(
            f"a {role!r} turn with content of type {type(content).__name__} cannot be read; "
            f"allowed: {', '.join(get_args(Role))} with text"
        )
    return Message(role, content)
