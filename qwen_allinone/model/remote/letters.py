"""Decisions by the first word of a reply: options bear letters, and the server tells how likely each letter is."""

from math import exp, log
from string import ascii_uppercase

from qwen_allinone.errors import CapabilityError, QuestionError
from qwen_allinone.model.capabilities import Layout
from qwen_allinone.model.chatml import Message
from qwen_allinone.model.likelihoods import Asked
from qwen_allinone.model.prompt_layout import with_system
from qwen_allinone.model.questions import RenderedQuestion, render_with_letters
from qwen_allinone.model.remote.server import TOP_WORDS, Server


def likelihoods(server: Server, asked: Asked, question: RenderedQuestion, layout: Layout) -> tuple[float, ...]:
    """Log-likelihoods of the options as they are listed.

    A letter that is not among the words that the server tells is taken to be as likely as the last of them.

    Raises:
        QuestionError: there are more options than a server tells likelihoods of.
        CapabilityError: the server tells none, or the model answers with no letter at all.
    """
    if len(question.options) > TOP_WORDS:
        raise QuestionError(f"a server decides among {TOP_WORDS} options at most; given: {len(question.options)}")
    words = render_with_letters(question, asked.language)
    if layout == "text_first":
        messages = [*asked.messages, Message("system", words)]
    else:
        messages = with_system(asked.messages, words)
    told = server.next_words(messages)
    shares = dict.fromkeys(ascii_uppercase[: len(question.options)], 0.0)
    for word, likelihood in told.items():
        letter = word.strip().upper()
        if letter in shares:
            shares[letter] += exp(likelihood)
    if not any(shares.values()):
        raise CapabilityError(
            f"the model {server.model!r} does not answer a question with the letter of an option, so it cannot decide; "
            f"it begins with {', '.join(map(repr, list(told)[:3]))}"
        )
    least = min(told.values())
    return tuple(log(share) if share else least for share in shares.values())
