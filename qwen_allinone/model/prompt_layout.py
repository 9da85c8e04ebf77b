"""Where things stand in a prompt: persona, earlier turns, text, question, answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from qwen_allinone.errors import EmptyTextError, TextTooLongError
from qwen_allinone.model.branches import Branch, Inquiry
from qwen_allinone.model.capabilities import Capabilities, Layout
from qwen_allinone.model.chatml import ChatML, Message
from qwen_allinone.model.language import Language
from qwen_allinone.model.prompt_file import PromptFile
from qwen_allinone.model.questions import RenderedQuestion

_PERSONA = PromptFile.load("qwen_allinone.model", "persona")


@dataclass(frozen=True)
class Excerpt:
    """As much of a text as the model reads at once."""

    text: str
    cut_tokens: int
    """How many tokens were left out of the middle; 0: the text is whole."""


class PromptLayout:
    """Lays conversations and questions out as the tokens that one model reads.

    Args:
        chat: encodes.
        capabilities: what the model declares.
        window: the most tokens that a prompt may have.
    """

    def __init__(self, chat: ChatML, capabilities: Capabilities, window: int) -> None:
        self._chat = chat
        self._capabilities = capabilities
        self._window = window

    def excerpt(self, text: str) -> Excerpt:
        """The text as decisions and replies read it: whole, or cut in its middle if the model declares a limit."""
        limit = self._capabilities.reading_tokens
        ids = self._chat.encode(text)
        if limit is None or len(ids) <= limit:
            return Excerpt(text, 0)
        half = limit // 2
        head, tail = self._chat.decode(ids[:half]), self._chat.decode(ids[-half:])
        return Excerpt(f"{head.rstrip(chr(0xFFFD))} … {tail.lstrip(chr(0xFFFD))}", len(ids) - 2 * half)

    def conversation(self, text: str, history: Sequence[Message], language: Language) -> list[Message]:
        """Persona, earlier turns and the text.

        Raises:
            EmptyTextError: the text is blank.
        """
        if not text.strip():
            raise EmptyTextError("the text is empty; give at least one character that is not white space")
        persona = Message("system", _PERSONA.render(language, "persona"))
        return [persona, *history, Message("user", self.excerpt(text).text)]

    def inquiries(
        self,
        messages: Sequence[Message],
        questions: Sequence[RenderedQuestion],
        layout: Layout | None = None,
    ) -> list[Inquiry]:
        """The questions in their order: all behind the text in one inquiry, or each before the text in its own.

        Args:
            messages: a conversation that ends with the text.
            questions: about the text.
            layout: where a question stands; by default as the model declares.

        Raises:
            TextTooLongError: text and a question exceed the context window.
        """
        if (layout or self._capabilities.layout) == "text_first":
            branches = [self._branch(self._chat.turn(Message("system", each.text)), each) for each in questions]
            found = [Inquiry(tuple(self._chat.turns(messages)), tuple(branches))]
        else:
            branches = [self._branch(self._chat.turns(with_system(messages, each.text)), each) for each in questions]
            found = [Inquiry((), (branch,)) for branch in branches]
        longest = max(each.longest for each in found)
        if longest > self._window:
            raise TextTooLongError(
                f"text and question have {longest} tokens, the model's context window {self._window}; shorten the text"
            )
        return found

    def leaves(self, question: RenderedQuestion) -> tuple[tuple[int, ...], ...]:
        """Tokens of each option, the end of the turn included."""
        return tuple((*self._chat.encode(words), self._chat.end_of_turn) for words in question.options.values())

    def _branch(self, before: Sequence[int], question: RenderedQuestion) -> Branch:
        return Branch((*before, *self._chat.opening()), self.leaves(question))


def with_system(messages: Sequence[Message], words: str) -> list[Message]:
    """The conversation with these words at the end of its system turn, or in one of their own."""
    if messages and messages[0].role == "system":
        return [Message("system", f"{messages[0].content}\n\n{words}"), *messages[1:]]
    return [Message("system", words), *messages]
