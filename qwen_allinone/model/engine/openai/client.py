"""Client of an OpenAI-compatible server; its failures become errors of this package."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any

import openai
from pydantic import BaseModel, Field

from qwen_allinone.errors import CapabilityError, InputError, ModelNotFoundError, ServerError
from qwen_allinone.model.engine.openai.address import Address
from qwen_allinone.model.engine.openai.failures import explained
from qwen_allinone.model.prompt.chatml import require_characters
from qwen_allinone.model.prompt.messages import Message

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionChunk

TOP_LOGPROBS = 20
"""Likeliest next tokens whose log-probability a server tells."""
_CONTROL = re.compile(r"<(?=\|[^<>|]{1,64}\|>|/?(?:think|tool_call|tool_response)>)")
_CONNECT_SECONDS = 10.0
_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Model(BaseModel):
    id: str
    max_model_len: int | None = Field(default=None, gt=0)
    """Context window, where the server tells it (vLLM does)."""


class _Models(BaseModel):
    data: list[_Model]


class _Answer(BaseModel):
    probabilities: dict[str, _Share] | None = None
    noul: _Share | None = None

    @property
    def options(self) -> dict[str, float]:
        """Option to probability."""
        if self.noul is not None:
            return {"yes": self.noul, "no": 1 - self.noul}
        if self.probabilities is None:
            raise ValueError("an answer has no probabilities")
        return self.probabilities


class _Answers(BaseModel):
    answers: dict[str, _Answer]


class _Word(BaseModel):
    token: str
    logprob: Annotated[float, Field(le=1e-3)] | None


class _Place(BaseModel):
    top_logprobs: list[_Word]


class _Places(BaseModel):
    content: list[_Place] | None = None


class _Beginning(BaseModel):
    logprobs: _Places | None = None


class _Beginnings(BaseModel):
    choices: list[_Beginning] = Field(min_length=1)


@dataclass(frozen=True)
class Chunk:
    """One chunk of a streamed reply."""

    text: str = ""
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    @classmethod
    def from_api(cls, chunk: "ChatCompletionChunk") -> "Chunk":
        """Read a chunk of the API; a thought that the server tells apart is left out."""
        choice = chunk.choices[0] if chunk.choices else None
        text = choice.delta.content if choice and choice.delta else None
        if not isinstance(text, str | None):  # the client checks no types
            raise ValueError(f"a piece of a reply is no text: {text!r}")
        return cls(
            text or "",
            choice.finish_reason if choice else None,
            _number(chunk.usage.prompt_tokens) if chunk.usage else None,
            _number(chunk.usage.completion_tokens) if chunk.usage else None,
        )


class Client:
    """One model on one server; safe to use from many threads.

    Args:
        address: of the server; names the model unless it has only one.
        api_key: sent with every request.
        timeout: seconds without a byte after which a request has failed; it is tried twice.

    Raises:
        InputError: the URL makes no sense.
        ModelNotFoundError: the server has several models and none was named.
        ServerError: it cannot be reached.
    """

    def __init__(self, address: Address, *, api_key: str | None, timeout: float) -> None:
        self._url = address.url
        try:
            self._client = openai.OpenAI(
                base_url=address.url,
                api_key=api_key or "none",
                timeout=openai.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS)),
                max_retries=1,
            )
        except Exception as error:  # such as a host name that cannot be one
            raise InputError(f"{address.url!r} is no URL of a server: {error}") from error
        self._client.organization = self._client.project = None  # those of the environment are for OpenAI
        models = self._models()
        self.model = address.model or self._only(models)
        self.context_window = next((each.max_model_len for each in models if each.id == self.model), None)
        """In tokens, where the server tells it."""

    def decide(self, state: object, questions: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]] | None:
        """Ask ``/v1/systemone`` for the probabilities of each question's options; None: the server has no such thing.

        Args:
            state: the conversation that is asked about.
            questions: in the form of that endpoint.
        """
        body = {"model": self.model, "state": plain(state), "questions": plain(questions)}
        try:
            with explained(self._url):
                found = self._client.post("/systemone", cast_to=object, body=body)
        except ModelNotFoundError:
            return None
        with explained(self._url):
            answers = _Answers.model_validate(found).answers
            return {name: answers[name].options for name in questions}

    def next_tokens(self, messages: Sequence[Message]) -> dict[str, float]:
        """Return the log-probabilities of the likeliest tokens with which a reply would begin.

        Raises:
            CapabilityError: the server does not tell any.
        """
        body = {
            **self._asked(messages, thinking=False),
            "max_tokens": 1,
            "temperature": 1,
            "logprobs": True,
            "top_logprobs": TOP_LOGPROBS,
        }
        with explained(self._url):
            found = self._client.post("/chat/completions", cast_to=object, body=body)
            first = _Beginnings.model_validate(found).choices[0].logprobs
        if first is None or not first.content:
            raise CapabilityError(
                f"the server at {self._url} tells no likelihoods: it has neither /systemone nor logprobs, so it can "
                f"generate but not decide; transformers serve, Ollama, vLLM and llama.cpp server can"
            )
        told: dict[str, float] = {}
        for word in first.content[0].top_logprobs:
            if word.logprob is not None and isfinite(word.logprob):  # of tokens that look alike, the likeliest
                told[word.token] = max(word.logprob, told.get(word.token, word.logprob))
        return told

    def generate(self, messages: Sequence[Message], *, thinking: bool, **options: Any) -> Iterator["Chunk"]:
        """Stream a reply; closing the iterator ends it.

        Args:
            messages: the conversation.
            thinking: let the model think first, where it can.
            **options: fields of the API.
        """
        asked = self._asked(messages, thinking=thinking)
        with (
            explained(self._url),
            self._client.chat.completions.create(
                model=asked["model"],
                messages=asked["messages"],
                extra_body={"chat_template_kwargs": asked["chat_template_kwargs"]},
                stream=True,
                stream_options={"include_usage": True},
                **options,
            ) as chunks,
        ):
            for chunk in chunks:
                yield Chunk.from_api(chunk)

    def _asked(self, messages: Sequence[Message], *, thinking: bool) -> dict[str, Any]:
        return {
            "model": self.model,
            "messages": [{"role": each.role, "content": plain(each.content)} for each in messages],
            "chat_template_kwargs": {"enable_thinking": thinking},
        }

    def _models(self) -> list[_Model]:
        """List the models that the server offers; none if it does not say."""
        try:
            with explained(self._url):
                found = self._client.get("/models", cast_to=object, options={"max_retries": 0})
                return _Models.model_validate(found).data
        except ServerError as error:
            if isinstance(error.__cause__, openai.APIConnectionError):
                raise
            return []
        except ModelNotFoundError:
            return []

    def _only(self, models: Sequence[_Model]) -> str:
        if len(models) == 1:
            return models[0].id
        offered = f"it offers {', '.join(each.id for each in models[:8])}" if models else "it does not say what it has"
        raise ModelNotFoundError(f"which model of {self._url}? {offered}; append #NAME to the URL")


def _number(told: object) -> int | None:
    return told if isinstance(told, int) else None


def plain(value: Any) -> Any:
    """Make every control token in a value's texts plain: servers encode ``<|im_end|>`` as what it looks like.

    A space of no width goes behind the first character, which leaves the text readable.

    Raises:
        InputError: a text holds half of a surrogate pair.
    """
    if isinstance(value, str):
        require_characters(value)
        return _CONTROL.sub("<\u200b", value)
    if isinstance(value, Mapping):
        return {plain(name): plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value
