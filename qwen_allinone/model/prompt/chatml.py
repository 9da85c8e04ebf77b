"""ChatML prompts, put together as token ids.

Role headers are control tokens; all else is encoded by a copy of the tokenizer that has no added tokens, so that
nothing in a text can open or close a role. No chat template is run.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

from qwen_allinone.errors import InputError, ModelNotFoundError
from qwen_allinone.model.prompt.messages import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IM_START, IM_END, END_OF_TEXT = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
_THINK, _END_THINK = "<think>", "</think>"
_MAX_TURNS = 512
"""Encoded turns that are kept, so that a conversation is tokenized once, however often it is read."""


@dataclass(frozen=True)
class ChatStyle:
    """Differences between the generations of Qwen, read off the chat template's text (which is never run)."""

    default_system: str | None = None
    """System turn that the model's own template adds where a conversation has none."""
    plain_opening: tuple[str, ...] = ()
    """Tokens before a reply without thinking."""
    thinking_opening: tuple[str, ...] = ()
    """Tokens before a reply with thinking."""
    strips: bool = False
    """The template strips white space around contents."""
    thinks: bool = False
    """The model writes ``<think>`` blocks; those of earlier replies are left out."""

    @classmethod
    def from_template(cls, template: str | None) -> "ChatStyle":
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
    """Encodes conversations of one tokenizer.

    Args:
        tokenizer: a fast one of the Qwen family.
        style: by default that of the tokenizer's chat template.

    Raises:
        ModelNotFoundError: the tokenizer is of another family, or not a fast one.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", style: ChatStyle | None = None) -> None:
        self.style = style or ChatStyle.from_template(_template_text(tokenizer))
        self._control = {str(token): index for index, token in tokenizer.added_tokens_decoder.items()}
        missing = {IM_START, IM_END} - self._control.keys()
        if missing:
            raise ModelNotFoundError(
                f"this tokenizer has no {' and no '.join(sorted(missing))}: it is not of the Qwen family"
            )
        self._controls = frozenset(self._control.values())
        self._inert = _without_added_tokens(tokenizer)
        self._newline = self.encode("\n")
        self._kept_turn = lru_cache(_MAX_TURNS)(self.turn)
        self.stop_ids = tuple(self._control[token] for token in (IM_END, END_OF_TEXT) if token in self._control)
        """Tokens at which every reply ends, whatever a generation config says."""
        self.end_of_turn = self._control[IM_END]
        """Id of ``<|im_end|>``."""

    def clear_cache(self) -> None:
        """Drop the encoded turns."""
        self._kept_turn.cache_clear()

    def encode(self, text: str) -> list[int]:
        """Return the token ids of plain text; control tokens in it are plain characters.

        Raises:
            InputError: the text holds half of a surrogate pair, which is no character.
        """
        require_characters(text)
        return list(self._inert.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, control tokens left out except the marks around a thought."""
        thought = {self._control[mark]: mark for mark in (_THINK, _END_THINK) if mark in self._control}
        pieces: list[str] = []
        # Runs of plain tokens are decoded together: a character may lie across several of them.
        for control, run in groupby(ids, key=lambda index: index if index in self._controls else None):
            if control is None:
                pieces.append(self._inert.decode(list(run), skip_special_tokens=False))
            else:
                pieces += [thought.get(index, "") for index in run]
        return "".join(pieces)

    def turn(self, message: Message) -> list[int]:
        r"""Encode ``<|im_start|>role\ncontent<|im_end|>\n``, role and content as one segment."""
        content = message.content
        require_characters(content)  # an error names the place in the text, not in the turn
        if self.style.strips:
            content = content.strip()
        if self.style.thinks and message.role == "assistant" and _END_THINK in content:
            content = content.rpartition(_END_THINK)[2].lstrip("\n")
        body = self.encode(f"{message.role}\n{content}")
        return [self._control[IM_START], *body, self.end_of_turn, *self._newline]

    def turns(self, messages: Iterable[Message]) -> list[int]:
        """Encode closed turns, one after the other; those of user and assistant are kept for the next time."""
        ids: list[int] = []
        for message in messages:
            # A system turn may hold memories, which must not outlive the request.
            ids += self.turn(message) if message.role == "system" else self._kept_turn(message)
        return ids

    def opening(self, *, thinking: bool = False) -> list[int]:
        r"""Encode ``<|im_start|>assistant\n`` and what this generation of Qwen puts before a reply."""
        # A model that thinks is told that it has thought already.
        pieces = self.style.thinking_opening if thinking else self.style.plain_opening
        ids = [self._control[IM_START], *self.encode("assistant\n")]
        for piece in pieces:
            ids += [self._control[piece]] if piece in self._control else self.encode(piece)
        return ids

    def conversation(self, messages: Sequence[Message], *, thinking: bool = False) -> list[int]:
        """Encode all turns, the default system turn where the model's template adds one, and the opening of a reply."""
        return self.turns(self.with_default_system(messages)) + self.opening(thinking=thinking)

    def with_default_system(self, messages: Sequence[Message]) -> list[Message]:
        """Return the conversation with the system turn that the model's own template puts before one without."""
        if self.style.default_system is None or (messages and messages[0].role == "system"):
            return list(messages)
        return [Message("system", self.style.default_system), *messages]


def require_characters(text: str) -> None:
    """Refuse a text that UTF-8 cannot express.

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
