"""ChatML prompts, put together as token ids.

Role headers are control tokens; all else is encoded by a copy of the tokenizer that has no added tokens, so that
nothing in a text can open or close a role. No chat template is run.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from tokenizers import Tokenizer

from qwen_allinone.errors import InputError, ModelNotFoundError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Role = Literal["system", "user", "assistant"]

IM_START, IM_END, END_OF_TEXT = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
_THINK, _END_THINK = "<think>", "</think>"


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True)
class ChatStyle:
    """What differs between the generations of Qwen, read off the chat template's text (which is never run)."""

    default_system: str | None = None
    """System turn that the model's own template adds where a conversation has none."""
    plain_opening: tuple[str, ...] = ()
    """What opens a reply without thinking."""
    thinking_opening: tuple[str, ...] = ()
    """What opens a reply with thinking."""
    strips: bool = False
    """The template strips white space around contents."""
    thinks: bool = False
    """The model writes ``<think>`` blocks; those of earlier replies are left out."""

    @classmethod
    def of_template(cls, template: str | None) -> "ChatStyle":
        """Recognise Qwen1.5/2, 2.5, 3 and 3.5 by what stands in their chat templates.

        A tokenizer without a template (base models) is treated as Qwen1.5.
        """
        text = template or ""
        if "enable_thinking" in text:
            opens_thought = "'<think>\\n'" in text.rpartition("add_generation_prompt")[2]
            return cls(
                plain_opening=(_THINK, "\n\n", _END_THINK, "\n\n"),
                thinking_opening=(_THINK, "\n") if opens_thought else (),
                strips="render_content" in text,
                thinks=True,
            )
        if "You are Qwen, created by Alibaba Cloud" in text:
            return cls(default_system="You are Qwen, created by Alibaba Cloud. You are a helpful assistant.")
        if "You are a helpful assistant" in text or not text:
            return cls(default_system="You are a helpful assistant.")
        return cls()


class ChatML:
    """Encodes conversations of one tokenizer."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self.style = ChatStyle.of_template(_template_text(tokenizer))
        self._control = {str(token): index for index, token in tokenizer.added_tokens_decoder.items()}
        missing = {IM_START, IM_END} - self._control.keys()
        if missing:
            raise ModelNotFoundError(
                f"this tokenizer has no {' and no '.join(sorted(missing))}: it is not of the Qwen family"
            )
        self._controls = frozenset(self._control.values())
        self._inert = _without_added_tokens(tokenizer)
        self._newline = self.encode("\n")

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens at which every reply ends, whatever a generation config says."""
        return tuple(self._control[token] for token in (IM_END, END_OF_TEXT) if token in self._control)

    @property
    def end_of_turn(self) -> int:
        """The id of ``<|im_end|>``."""
        return self._control[IM_END]

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text; control tokens in it are plain characters.

        Raises:
            InputError: the text holds half of a surrogate pair, which is no character.
        """
        require_characters(text)
        return list(self._inert.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, control tokens left out except the marks around a thought."""
        thought = {self._control[mark]: mark for mark in (_THINK, _END_THINK) if mark in self._control}
        pieces: list[str] = []
        for control, run in groupby(ids, key=lambda index: index if index in self._controls else None):
            if control is None:
                pieces.append(self._inert.decode(list(run), skip_special_tokens=False))
            else:
                pieces += [thought.get(index, "") for index in run]
        return "".join(pieces)

    def turn(self, message: Message) -> list[int]:
        r"""``<|im_start|>role\ncontent<|im_end|>\n``, role and content encoded as one segment."""
        content = message.content
        if self.style.strips:
            content = content.strip()
        if self.style.thinks and message.role == "assistant" and _END_THINK in content:
            content = content.rpartition(_END_THINK)[2].lstrip("\n")
        body = self.encode(f"{message.role}\n{content}")
        return [self._control[IM_START], *body, self.end_of_turn, *self._newline]

    def turns(self, messages: Iterable[Message]) -> list[int]:
        """Closed turns, one after the other."""
        return [index for message in messages for index in self.turn(message)]

    def opening(self, *, thinking: bool = False) -> list[int]:
        r"""``<|im_start|>assistant\n`` and what the model's generation puts before a reply."""
        pieces = self.style.thinking_opening if thinking else self.style.plain_opening
        ids = [self._control[IM_START], *self.encode("assistant\n")]
        for piece in pieces:
            ids += [self._control[piece]] if piece in self._control else self.encode(piece)
        return ids

    def conversation(self, messages: Sequence[Message], *, thinking: bool = False) -> list[int]:
        """All turns, the default system turn where the model's template adds one, and the opening of a reply."""
        return self.turns(self.with_default_system(messages)) + self.opening(thinking=thinking)

    def with_default_system(self, messages: Sequence[Message]) -> list[Message]:
        """The conversation with the system turn that the model's own template puts before one without."""
        if self.style.default_system is None or (messages and messages[0].role == "system"):
            return list(messages)
        return [Message("system", self.style.default_system), *messages]


def require_characters(text: str) -> None:
    """Refuse what only looks like text.

    Raises:
        InputError: it holds half of a surrogate pair, which is no character.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"the text holds half of a character (a lone surrogate) at position {error.start}; "
            f"decode its bytes as UTF-8 before giving it"
        ) from error


def _template_text(tokenizer: "PreTrainedTokenizerBase") -> str | None:
    template = tokenizer.chat_template
    return template if isinstance(template, str) else None


def _without_added_tokens(tokenizer: "PreTrainedTokenizerBase") -> Tokenizer:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelNotFoundError("this model has no fast tokenizer (tokenizer.json), which is needed")
    inert = Tokenizer(backend.model)  # shares the vocabulary, which is most of a tokenizer's memory
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        if getattr(backend, part) is not None:
            setattr(inert, part, getattr(backend, part))
    return inert
