"""The shared Qwen as a text-generation pipeline of transformers, for ``HuggingFacePipeline``."""

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any

import torch
from transformers import BatchEncoding, StoppingCriteria, StoppingCriteriaList, TextGenerationPipeline
from transformers.pipelines.text_generation import ReturnType

from qwen_allinone.errors import InputError, TextTooLongError
from qwen_allinone.model.prompt.messages import ROLES, Message
from qwen_allinone.model.qwen import SharedQwen

if TYPE_CHECKING:
    from transformers.utils.chat_template_utils import Chat


@dataclass(frozen=True)
class TokenPrompt:
    """A prompt that is token ids already."""

    ids: tuple[int, ...]


class QwenPipeline(TextGenerationPipeline):
    """Takes token ids, chats and strings; one call at a time generates, on the weights that all else uses.

    A string is what one user says: it becomes a user turn in which control tokens are plain characters, so that
    ``HuggingFacePipeline(pipeline=QwenPipeline(qwen))`` is safe in a chain that formats a user's words into a prompt.

    Args:
        qwen: a model in memory.

    Raises:
        NotLocalError: the model is on a server.
    """

    def __init__(self, qwen: SharedQwen) -> None:
        self._engine = qwen.local
        super().__init__(  # type: ignore[no-untyped-call]
            model=self._engine.model,
            tokenizer=self._engine.tokenizer,
            device=self._engine.model.device,
            task="text-generation",
        )

    def preprocess(  # type: ignore[override]
        self, prompt_text: "TokenPrompt | Chat | str", prefix: str = "", **_: Any
    ) -> BatchEncoding:
        """Encode a prompt. *Shape:* (1, seq_len).

        Raises:
            InputError: a turn of a chat has another role than system, user and assistant, or is not text.
            TextTooLongError: the prompt leaves no room for a reply.
        """
        if isinstance(prompt_text, TokenPrompt):
            ids = list(prompt_text.ids)
        elif isinstance(prompt_text, str):
            ids = self._engine.chat.conversation([Message("user", prefix + prompt_text)])
        else:
            ids = self._engine.chat.conversation([_message(turn) for turn in prompt_text.messages])
        window = self._engine.context_window
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
        """Return the reply, without the prompt unless ``return_full_text=True`` was asked for."""
        records: list[dict[str, Any]] = super().postprocess(  # type: ignore[no-untyped-call]
            model_outputs, return_type=return_type, **options
        )
        return records

    def _forward(self, model_inputs: Any, **generate_kwargs: Any) -> Any:  # type: ignore[override]
        """Generate in the thread of the scheduler; whoever is interrupted while waiting stops it."""
        interrupted = _Interrupted()
        # ``generate`` cannot be interrupted from outside; between two tokens it asks its criteria.
        criteria = [*generate_kwargs.pop("stopping_criteria", ()), interrupted]
        generate_kwargs["stopping_criteria"] = StoppingCriteriaList(criteria)
        forward = super()._forward
        try:
            return self._engine.run_alone(lambda: forward(model_inputs, **generate_kwargs))  # type: ignore[no-untyped-call]
        except BaseException:
            interrupted.event.set()
            raise


class _Interrupted(StoppingCriteria):
    """Ends a generation that nobody waits for."""

    def __init__(self) -> None:
        self.event = Event()

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:  # noqa: ARG002
        return torch.full((input_ids.shape[0],), self.event.is_set(), device=input_ids.device)


def _message(turn: Mapping[str, Any]) -> Message:
    role, content = turn["role"], turn["content"]
    if role not in ROLES or not isinstance(content, str):
        raise InputError(
            f"a {role!r} turn with content of type {type(content).__name__} cannot be read; "
            f"allowed: {', '.join(ROLES)} with text"
        )
    return Message(role, content)
