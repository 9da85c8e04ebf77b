"""Prompts against the token ids that the model's own chat template gives."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qwen_allinone.model import Choice, Message
from qwen_allinone.model.decisions.questions import render_question
from qwen_allinone.model.prompt.chatml import ChatML

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_SHOWN = 3
"""Number of differences and of errors in the JSON."""
WINDOW = (4, 24)
"""Number of tokens that are shown before and from the first difference on."""

CONVERSATIONS: tuple[tuple[Message, ...], ...] = (
    (Message("user", "Hello there!"),),
    (Message("user", "今天的实验终于成功了！明天继续。"),),
    (Message("user", "  padded on both sides\t "),),
    (Message("user", "\n\n首尾有空行\n\n"),),
    (Message("user", "\u3000全角空格\u3000"),),
    (Message("user", "一段文字。\n\n另一段文字。\r\n最后一段。"),),
    (Message("user", "def f(x):\n\treturn {'a': [x, 1e-3]}  # why\n"),),
    (Message("user", "🎉👩‍👩‍👧‍👦 and 12345 don't   stop...\n \n"),),
    (Message("system", "你是一个温和的助手。"), Message("user", "你好")),
    (Message("system", " You answer briefly.\n"), Message("user", "Why do people yawn?")),
    (Message("user", "你好"), Message("assistant", "你好！有什么可以帮你？"), Message("user", "讲个笑话")),
    (Message("user", "Hi"), Message("assistant", "\n\n  Hello. \n"), Message("user", " And now? ")),
    (
        Message("system", "你是一个温和的助手。\n"),
        Message("user", "第一个问题"),
        Message("assistant", "\n第一个回答\n\n"),
        Message("user", "\nSecond question "),
        Message("assistant", "Second answer"),
        Message("user", "第三个问题\n\n"),
    ),
)
"""Conversations of one and several turns, with and without a system turn, in both languages, some padded."""

THOUGHTFUL: tuple[Message, ...] = (
    Message("user", "17 × 3 = ?"),
    Message("assistant", "<think>\n先算 17 × 3。\n</think>\n\n51"),
    Message("user", "再加 1 呢？"),
)
"""Conversation with a thought in an earlier reply, which models that think do not read again."""

_QUESTION = Choice(instructions="用户想做什么？", criteria={"聊天": "说说话", "办事": "请别人做一件事"})
DECISION_PROMPT: tuple[Message, ...] = (
    Message("system", "你是一个温和的助手。"),
    Message("user", "帮我订票"),
    Message("system", render_question(_QUESTION, "zh").text),
)
"""Prompt of a decision in the text-first layout: its system turn behind the user's is refused by some templates."""


@dataclass(frozen=True)
class TokenDifference:
    """First place where two sides of a conversation differ, and the text around it."""

    token: int
    """Number of tokens before it, which are equal."""
    template: str
    qwen_allinone: str


@dataclass(frozen=True)
class RenderedConversation:
    """A conversation rendered by the template and by ``ChatML``."""

    messages: tuple[Message, ...]
    thinking: bool
    difference: TokenDifference | None = None
    error: str | None = None
    """Error that the template raised instead."""

    @property
    def equal(self) -> bool:
        """True if both sides have the same token ids."""
        return self.difference is None and self.error is None

    def to_json(self) -> dict[str, Any]:
        """Return the conversation with either the error or the difference."""
        messages = [[message.role, message.content] for message in self.messages]
        found: dict[str, Any] = {"messages": messages, "thinking": self.thinking}
        if self.error is not None:
            found["error"] = self.error
        if self.difference is not None:
            found["first_difference_at_token"] = self.difference.token
            found["template"] = self.difference.template
            found["qwen_allinone"] = self.difference.qwen_allinone
        return found


@dataclass(frozen=True)
class TemplateComparison:
    """Every conversation that was compared; none without a template."""

    conversations: tuple[RenderedConversation, ...]
    decision_prompt: RenderedConversation | None
    """Comparison of ``DECISION_PROMPT``, which is not one of the conversations; None without a template."""

    @property
    def template(self) -> bool:
        """True if the tokenizer has a template."""
        return self.decision_prompt is not None

    @property
    def equal(self) -> bool | None:
        """True if all conversations have equal token ids; None without a template."""
        return all(each.equal for each in self.conversations) if self.template else None

    @property
    def differences(self) -> tuple[RenderedConversation, ...]:
        """Conversations with other token ids."""
        return tuple(each for each in self.conversations if each.difference is not None)

    @property
    def errors(self) -> tuple[RenderedConversation, ...]:
        """Conversations that the template refused."""
        return tuple(each for each in self.conversations if each.error is not None)

    def to_json(self) -> dict[str, Any]:
        """Return the counts, and the first few differences and errors."""
        found: dict[str, Any] = {
            "template": self.template,
            "equal": self.equal,
            "compared": len(self.conversations),
            "different": len(self.differences),
            "failed": len(self.errors),
            "differences": [each.to_json() for each in self.differences[:MAX_SHOWN]],
            "errors": [each.to_json() for each in self.errors[:MAX_SHOWN]],
        }
        if self.decision_prompt is not None:
            details = {} if self.decision_prompt.equal else self.decision_prompt.to_json()
            found["decision_prompt"] = {"equal": self.decision_prompt.equal, **details}
        return found


def compare_template(tokenizer: "PreTrainedTokenizerBase", chat: ChatML) -> TemplateComparison:
    """Render a fixed list of conversations by the tokenizer's template and by ``ChatML``, and compare token ids."""
    if not tokenizer.chat_template:
        return TemplateComparison((), None)
    conversations = (*CONVERSATIONS, THOUGHTFUL) if chat.style.thinks else CONVERSATIONS
    modes = (False, True) if chat.style.thinks else (False,)
    rendered: list[RenderedConversation] = []
    for messages in conversations:
        for thinking in modes:
            rendered.append(_render(tokenizer, chat, messages, thinking=thinking))
    return TemplateComparison(tuple(rendered), _render(tokenizer, chat, DECISION_PROMPT, thinking=False))


def _render(
    tokenizer: "PreTrainedTokenizerBase", chat: ChatML, messages: tuple[Message, ...], *, thinking: bool
) -> RenderedConversation:
    options: dict[str, Any] = {"enable_thinking": thinking} if chat.style.thinks else {}
    try:
        text = tokenizer.apply_chat_template(
            [{"role": message.role, "content": message.content} for message in messages],
            tokenize=False,
            add_generation_prompt=True,
            **options,
        )
    except Exception as error:  # a template is a program from outside: it may raise anything
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return RenderedConversation(messages, thinking, error=reason)
    template_ids: list[int] = list(tokenizer(text, add_special_tokens=False).input_ids)
    own_ids = chat.conversation(messages, thinking=thinking)
    return RenderedConversation(messages, thinking, _difference(tokenizer, template_ids, own_ids))


def _difference(
    tokenizer: "PreTrainedTokenizerBase", template_ids: list[int], own_ids: list[int]
) -> TokenDifference | None:
    if template_ids == own_ids:
        return None
    equal = 0
    for template_id, own_id in zip(template_ids, own_ids, strict=False):
        if template_id != own_id:
            break
        equal += 1
    before, behind = WINDOW
    shown = slice(max(0, equal - before), equal + behind)
    return TokenDifference(equal, str(tokenizer.decode(template_ids[shown])), str(tokenizer.decode(own_ids[shown])))
