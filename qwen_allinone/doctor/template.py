"""Whether prompts have exactly the token ids that the model's own chat template gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qwen_allinone.model.decisions.questions import render_question
from qwen_allinone.model.prompt.chatml import ChatML
from qwen_allinone.model.prompt.messages import Message
from qwen_allinone.router.question import route_question
from qwen_allinone.router.route import builtin_routes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SHOWN = 3
_CONTEXT = 24

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
"""With and without a system turn, of one and several turns, Chinese and English, padded with white space."""

THOUGHTFUL: tuple[Message, ...] = (
    Message("user", "17 × 3 = ?"),
    Message("assistant", "<think>\n先算 17 × 3。\n</think>\n\n51"),
    Message("user", "再加 1 呢？"),
)
"""An earlier reply with its thought, which models that think do not read again."""


def compare_template(tokenizer: "PreTrainedTokenizerBase", chat: ChatML) -> dict[str, Any]:
    """Render a fixed list of conversations by the tokenizer's template and by ``ChatML``, and compare token ids.

    ``equal`` covers conversations; ``decision_prompt`` is the prompt of decisions in the text-first layout, with a
    system turn behind the user's, which some templates refuse to render. Both are None without a template.
    """
    if not tokenizer.chat_template:
        return {"template": False, "equal": None, "compared": 0, "differences": [], "errors": []}
    conversations = (*CONVERSATIONS, *((THOUGHTFUL,) if chat.style.thinks else ()))
    modes = (False, True) if chat.style.thinks else (False,)
    pairs = [_Pair.of(tokenizer, chat, messages, thinking) for messages in conversations for thinking in modes]
    different = [pair.to_json(tokenizer) for pair in pairs if not pair.equal and not pair.error]
    errors = [pair.to_json(tokenizer) for pair in pairs if pair.error]
    decision = _Pair.of(tokenizer, chat, _decision_prompt(), thinking=False)
    return {
        "template": True,
        "equal": not different and not errors,
        "compared": len(pairs),
        "different": len(different),
        "failed": len(errors),
        "differences": different[:_SHOWN],
        "errors": errors[:_SHOWN],
        "decision_prompt": {"equal": decision.equal} | ({} if decision.equal else decision.to_json(tokenizer)),
    }


@dataclass(frozen=True)
class _Pair:
    """One conversation as token ids, from both sides."""

    messages: Sequence[Message]
    thinking: bool
    own: list[int]
    rendered: list[int]
    error: str = ""

    @classmethod
    def of(
        cls, tokenizer: "PreTrainedTokenizerBase", chat: ChatML, messages: Sequence[Message], thinking: bool
    ) -> "_Pair":
        own = chat.conversation(messages, thinking=thinking)
        options: dict[str, Any] = {"enable_thinking": thinking} if chat.style.thinks else {}
        try:
            text = tokenizer.apply_chat_template(
                [{"role": message.role, "content": message.content} for message in messages],
                tokenize=False,
                add_generation_prompt=True,
                **options,
            )
        except Exception as error:  # a template is a program from outside: it may raise anything
            return cls(messages, thinking, own, [], f"{type(error).__name__}: {' '.join(str(error).split())}")
        return cls(messages, thinking, own, list(tokenizer(text, add_special_tokens=False).input_ids))

    @property
    def equal(self) -> bool:
        return not self.error and self.own == self.rendered

    def to_json(self, tokenizer: "PreTrainedTokenizerBase") -> dict[str, Any]:
        """The conversation and either the error or both sides around the first token that differs."""
        about = {"messages": [[each.role, each.content] for each in self.messages], "thinking": self.thinking}
        if self.error:
            return about | {"error": self.error}
        same = next(
            (index for index, (a, b) in enumerate(zip(self.own, self.rendered, strict=False)) if a != b),
            min(len(self.own), len(self.rendered)),
        )
        window = slice(max(0, same - 4), same + _CONTEXT)
        return about | {
            "first_difference_at_token": same,
            "template": tokenizer.decode(self.rendered[window]),
            "qwen_allinone": tokenizer.decode(self.own[window]),
        }


def _decision_prompt() -> tuple[Message, ...]:
    question = render_question(route_question(builtin_routes(), "zh"), "zh").text
    return (Message("system", "你是一个温和的助手。"), Message("user", "帮我订票"), Message("system", question))
