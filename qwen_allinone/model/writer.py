"""The writer of replies: together where the architecture allows it, else through the pipeline."""

from collections.abc import Sequence
from threading import BoundedSemaphore
from typing import Any

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from qwen_allinone.errors import TextTooLongError
from qwen_allinone.model.chatml import ChatML
from qwen_allinone.model.fair_lock import FairLock
from qwen_allinone.model.pipeline import QwenPipeline, TokenPrompt
from qwen_allinone.model.reply import Generation, ReplyStream, start_thread
from qwen_allinone.model.reply_batch import MOST_WAITING, ReplyBatch, too_many_wait
from qwen_allinone.model.scorer import Scorer
from qwen_allinone.model.writing import Writing, penalty


class Writer:
    """Writes replies, from prompts whose beginning may have been read before.

    Those of a full-attention model are written together; with other architectures one after the other, through the
    pipeline.
    """

    def __init__(self, pipeline: QwenPipeline, chat: ChatML, scorer: Scorer, *, window: int, lock: FairLock) -> None:
        self._pipeline = pipeline
        self._chat = chat
        self._scorer = scorer
        self._window = window
        self._lock = lock
        self._places = BoundedSemaphore(MOST_WAITING)
        self._batch = ReplyBatch(pipeline.model, scorer, chat.stop_ids, lock) if scorer.packs else None

    def stream(
        self, prompt: Sequence[int], writing: Writing, *, branch_point: int = 0, goes_on: bool = False
    ) -> ReplyStream:
        """Begin a reply.

        Args:
            prompt: token ids, up to where the reply begins.
            writing: how to write.
            branch_point: how many leading tokens of the prompt are worth keeping in the prefix cache.
            goes_on: whether the conversation goes on from the whole prompt, so that the reply is worth keeping too.

        Raises:
            TextTooLongError: the prompt leaves no room for a reply.
        """
        room = self._window - len(prompt)
        if room < max(1, writing.min_new_tokens):
            raise TextTooLongError(
                f"the prompt has {len(prompt)} tokens, the model's context window {self._window}; shorten the text"
            )
        limit = min(room, writing.max_new_tokens)
        generation = Generation(
            self._begin,
            self._chat,
            writing,
            prompt=tuple(prompt),
            branch_point=branch_point,
            goes_on=goes_on,
            limit=limit,
        )
        return ReplyStream(generation)

    def _begin(self, generation: Generation) -> None:
        if self._batch is not None:
            self._batch.add(generation)
        elif self._places.acquire(blocking=False):
            try:
                start_thread(lambda: self._generate(generation))
            except BaseException:
                self._places.release()
                raise
        else:
            raise too_many_wait()

    def _generate(self, generation: Generation) -> None:
        """Run the pipeline to its end, handing tokens to the generation."""
        outcome = None
        try:
            if self._lock.acquire(unless=lambda: generation.unwanted):
                try:
                    self._generate_alone(generation)
                finally:
                    self._lock.release()
        except BaseException as error:
            outcome = error
        self._places.release()
        generation.finish(outcome)

    def _generate_alone(self, generation: Generation) -> None:
        writing, prefix = generation.writing, generation.prompt[: generation.branch_point]
        devices: list[int] | None = None if self._pipeline.model.device.type == "cuda" else []
        with torch.random.fork_rng(devices, enabled=writing.seed is not None):
            if generation.unwanted:
                return
            if writing.seed is not None:
                torch.manual_seed(writing.seed)
            self._pipeline(  # type: ignore[call-overload]
                TokenPrompt(generation.prompt),
                generation_config=self._config(writing, generation.limit),
                past_key_values=self._scorer.read_whole(prefix) if prefix else None,
                streamer=_Streamer(generation),
                stopping_criteria=StoppingCriteriaList([_Unwanted(generation)]),
                logits_processor=penalty(writing, prompt_tokens=len(generation.prompt)),
                return_tensors=True,
            )

    def _config(self, writing: Writing, limit: int) -> GenerationConfig:
        sampled = {"temperature": writing.temperature, "top_p": writing.top_p, "top_k": 0}  # top_k is 50 if left out
        return GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=limit,
            min_new_tokens=writing.min_new_tokens or None,
            do_sample=writing.temperature > 0,
            eos_token_id=list(self._chat.stop_ids),
            pad_token_id=self._chat.stop_ids[-1],
            **(sampled if writing.temperature else {}),
        )


class _Unwanted(StoppingCriteria):
    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:  # noqa: ARG002
        return torch.full((input_ids.shape[0],), self._generation.unwanted, device=input_ids.device)


class _Streamer(BaseStreamer):
    """Hands the tokens of ``generate`` on, which gives the prompt first."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._prompt_seen = False

    def put(self, value: torch.Tensor) -> None:
        if self._prompt_seen:
            for token in value.flatten().tolist():
                self._generation.take(token)
        self._prompt_seen = True

    def end(self) -> None:
        pass
