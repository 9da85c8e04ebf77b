"""The program that a reader of articles about small models writes: one call of the model for every question.

Three prompts, three times the whole text, three calls of ``generate``; or the same through LangChain's pipeline. Many
texts go through a pipeline of transformers in batches.
"""

import copy
from collections.abc import Sequence
from typing import Any

from langchain_huggingface import HuggingFacePipeline
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TextGenerationPipeline

ANSWER_TOKENS, REPLY_TOKENS = 8, 64
"""Written by every answer and every reply, no less and no more, so that all ways write the same."""
BATCH = 8
"""Texts in a batch."""

_SYSTEM = "You are a kind, concise and reliable assistant."
_ROUTE = (
    "Which of these fits the input? Answer with one word.\n"
    "- sentiment: an opinion about a product, a service or an experience\n- chat: small talk, feelings or a question\n"
    "- intent: a request to do something\n- summary: a long text that should be shortened\n\nInput: {text}"
)
_MOOD = "Is the mood of this text positive or negative? Answer with one word.\n\nText: {text}"


class NaiveQwen:
    """Asks and replies by ``generate``, greedily.

    Args:
        model: any causal language model.
        tokenizer: with a chat template.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self._model = model
        self._tokenizer = tokenizer

    def decide(self, text: str) -> list[str]:
        """Route and mood."""
        return [self._generate(prompt.format(text=text), ANSWER_TOKENS) for prompt in (_ROUTE, _MOOD)]

    def mood(self, text: str) -> str:
        """Mood alone."""
        return self._generate(_MOOD.format(text=text), ANSWER_TOKENS)

    def turn(self, text: str) -> list[str]:
        """Route, mood and reply."""
        return [*self.decide(text), self._generate(text, REPLY_TOKENS)]

    def _generate(self, prompt: str, tokens: int) -> str:
        messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": prompt}]
        inputs: Any = self._tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        written = self._model.generate(  # type: ignore[operator]
            **inputs, **_options(tokens)
        )
        return str(self._tokenizer.decode(written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))


class NaivePipeline:
    """The same through ``HuggingFacePipeline``."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        made = TextGenerationPipeline(model=model, tokenizer=tokenizer, task="text-generation")  # type: ignore[no-untyped-call]
        self._language_model = HuggingFacePipeline(pipeline=made)

    def turn(self, text: str) -> list[str]:
        """Route, mood and reply."""
        asked = [(prompt.format(text=text), ANSWER_TOKENS) for prompt in (_ROUTE, _MOOD)]
        return [self._invoke(prompt, tokens) for prompt, tokens in [*asked, (text, REPLY_TOKENS)]]

    def _invoke(self, prompt: str, tokens: int) -> str:
        return str(self._language_model.invoke(_laid_out(prompt), pipeline_kwargs=_options(tokens)))


class NaiveBatches:
    """The mood of many texts through ``TextGenerationPipeline``, several in a batch, padded on the left."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        padded = copy.deepcopy(tokenizer)
        padded.padding_side = "left"
        self._pipeline: Any = TextGenerationPipeline(model=model, tokenizer=padded, task="text-generation")  # type: ignore[no-untyped-call]

    def moods(self, texts: Sequence[str]) -> list[str]:
        """One for each text."""
        prompts = [_laid_out(_MOOD.format(text=text)) for text in texts]
        written = self._pipeline(prompts, batch_size=BATCH, return_full_text=False, **_options(ANSWER_TOKENS))
        return [str(each["generated_text"]) for (each,) in written]


def _laid_out(prompt: str) -> str:
    return f"<|im_start|>system\n{_SYSTEM}<|im_end|>\n<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"


def _options(tokens: int) -> dict[str, Any]:
    return {"do_sample": False, "min_new_tokens": tokens, "max_new_tokens": tokens}
