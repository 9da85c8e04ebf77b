"""Scores of options as a server tells them: by ``/v1/systemone``, else by the letter with which a reply would begin."""

from collections.abc import Hashable, Mapping
from math import exp, log
from string import ascii_uppercase
from typing import Any

from langchain_core.utils.iter import batch_iterate

from qwen_allinone.errors import CapabilityError, QuestionError, ServerError
from qwen_allinone.model.engine.base import RenderedQuestion, ScoreRequest, Scores
from qwen_allinone.model.engine.capabilities import Layout
from qwen_allinone.model.engine.openai.client import TOP_LOGPROBS, Client, plain
from qwen_allinone.model.prompt.language import Language
from qwen_allinone.model.prompt.layout import with_system
from qwen_allinone.model.prompt.messages import Message
from qwen_allinone.model.prompt.prompt_file import PromptFile

_PROMPTS = PromptFile.load("qwen_allinone.model", "question")
MAX_QUESTIONS = 64
"""Questions of one request to ``/v1/systemone``."""
MIN_LETTER_SHARE = 0.05
"""Probability that the letters must have together; below it the model does something else than to answer."""
MIN_PROBABILITY = 1e-12
"""Stands for a probability of zero, which has no logarithm."""

_Questions = Mapping[Hashable, RenderedQuestion]


class ServerScorer:
    """Scores with one model on a server; safe to use from many threads.

    Args:
        client: of the server.
        layout: place of the question, where letters decide.
    """

    def __init__(self, client: Client, layout: Layout) -> None:
        self._client = client
        self._layout = layout
        self._by_letters = False
        """True once the server is known to have no other way."""

    def score(self, request: ScoreRequest) -> Scores:
        """Score all questions of a request.

        Raises:
            CapabilityError: the server tells no likelihoods, or was told how to read.
            QuestionError: the server cannot tell the options apart, or there are too many.
            ServerError: it cannot be reached, or its answer makes no sense.
        """
        if request.length_normalized:
            raise CapabilityError("a server does not tell how many tokens an option has; leave length_normalized out")
        found: dict[Hashable, Mapping[str, float]] = {}
        for keys in batch_iterate(MAX_QUESTIONS, request.questions):
            found |= self._scores(request, {key: request.questions[key] for key in keys})
        return found

    def _scores(self, request: ScoreRequest, questions: _Questions) -> Scores:
        # Asked once; a server that has no such endpoint will not get it while it runs.
        if not self._by_letters:
            found = systemone_scores(self._client, request, questions)
            if found is not None:
                return found
            self._by_letters = True
        layout = request.layout or self._layout
        return {
            key: letter_scores(self._client, request.messages, question, request.language, layout)
            for key, question in questions.items()
        }


def systemone_scores(client: Client, request: ScoreRequest, questions: _Questions) -> Scores | None:
    """Ask ``/v1/systemone``, whose questions have the form of this package's own; None: there is no such endpoint.

    Raises:
        CapabilityError: a layout was asked for.
        QuestionError: two options look alike without control tokens.
        ServerError: an option has no probability, or all of them have none.
    """
    _persona, *turns = request.messages
    state: object = turns[-1].content
    if len(turns) > 1:
        state = [{"role": each.role, "content": each.content} for each in turns]
    numbered = {str(number): question for number, question in enumerate(questions.values())}
    answers = client.decide(state, {number: _systemone_question(each) for number, each in numbered.items()})
    if answers is None:
        return None
    if request.layout is not None:
        raise CapabilityError("where a question stands is the server's choice; leave layout out")
    logs = (_logarithms(question, answers[number]) for number, question in numbered.items())
    return dict(zip(questions, logs, strict=True))


def letter_scores(
    client: Client, messages: Any, question: RenderedQuestion, language: Language, layout: Layout
) -> Mapping[str, float]:
    """Ask for one option by its letter, and score it by the log-probability of the letter.

    A letter that is not among the tokens that the server tells is taken to be as likely as the last of them.

    Raises:
        QuestionError: there are more options than a server tells log-probabilities of.
        CapabilityError: the server tells none, or the model hardly ever answers with a letter.
    """
    if len(question.options) > TOP_LOGPROBS:
        raise QuestionError(f"a server decides among {TOP_LOGPROBS} options at most; given: {len(question.options)}")
    words = render_with_letters(question, language)
    asked = [*messages, Message("system", words)] if layout == "text_first" else with_system(messages, words)
    told = client.next_tokens(asked)
    letters = dict.fromkeys(ascii_uppercase[: len(question.options)], 0.0)
    for token, logprob in told.items():
        # Tokens such as ' A' and 'a' are the same answer, so their probabilities add up.
        letter = token.strip().upper()
        if letter in letters:
            letters[letter] += exp(logprob)
    if sum(letters.values()) < MIN_LETTER_SHARE:
        raise CapabilityError(
            f"the model {client.model!r} does not answer a question with the letter of an option, so it cannot decide; "
            f"it begins with {', '.join(map(repr, list(told)[:3]))}"
        )
    least = min(told.values())
    logs = [log(share) if share else least for share in letters.values()]
    return dict(zip(question.options, logs, strict=True))


def render_with_letters(question: RenderedQuestion, language: Language) -> str:
    """Lay a question out with a letter before each option, to be answered by one of them."""
    lines = []
    for letter, (name, words) in zip(ascii_uppercase, question.options.items(), strict=False):
        label, description = f"{letter}. {words}", question.descriptions[name]
        entry = {"label": label, "description": description} if description else {"label": label}
        lines.append(_PROMPTS.render(language, "option" if description else "option_bare", **entry))
    return _PROMPTS.render(language, "letters", instructions=question.instructions, options="\n".join(lines))


def _systemone_question(question: RenderedQuestion) -> dict[str, Any]:
    asked: dict[str, Any] = {"type": question.kind, "instructions": question.instructions}
    if question.kind == "choice":
        # A server sees labels without control tokens, and would take these two for one.
        if len(set(map(plain, question.options.values()))) < len(question.options):
            raise QuestionError(f"options look alike once control tokens are plain; given: {list(question.options)}")
        criteria = {words: question.descriptions[name] for name, words in question.options.items()}
        return {**asked, "criteria": criteria}
    if question.kind == "score":
        return {**asked, "criteria": list(question.descriptions.values())}
    if question.descriptions["yes"] is None:
        return asked
    return {**asked, "criteria": {"true": question.descriptions["yes"], "false": question.descriptions["no"]}}


def _logarithms(question: RenderedQuestion, answer: Mapping[str, float]) -> Mapping[str, float]:
    told = {name: plain(words) if question.kind == "choice" else name for name, words in question.options.items()}
    missing = [name for name in told.values() if name not in answer]
    if missing:
        raise ServerError(f"the server gave no probability of {', '.join(missing)}; see its log")
    if not any(answer[name] for name in told.values()):
        raise ServerError(f"the server gave {', '.join(told.values())} a probability of 0 each; see its log")
    return {name: log(max(answer[each], MIN_PROBABILITY)) for name, each in told.items()}
