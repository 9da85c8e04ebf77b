"""The one model in memory: it reads a text once, decides any number of questions about it, and writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock, RLock
from typing import TYPE_CHECKING, Unpack

from qwen_allinone.errors import EmptyTextError, QuestionError, TextTooLongError
from qwen_allinone.model import loading
from qwen_allinone.model.branches import Branch
from qwen_allinone.model.calibration import Calibration, per_token, without_prior
from qwen_allinone.model.capabilities import Capabilities, Layout
from qwen_allinone.model.chatml import ChatML, Message
from qwen_allinone.model.decision import Acceptance, Decision
from qwen_allinone.model.language import Language, language_of
from qwen_allinone.model.pipeline import QwenPipeline
from qwen_allinone.model.prefix_cache import CacheStatistics, PrefixCache
from qwen_allinone.model.prompt_file import PromptFile
from qwen_allinone.model.questions import Question, RenderedQuestion, render_question
from qwen_allinone.model.scorer import LeafScores, Scorer
from qwen_allinone.model.writer import Reply, ReplyStream, Writer, Writing, WritingOptions

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_PERSONA = PromptFile.load("qwen_allinone.model", "persona")
_CONTENT_FREE = "N/A"
_MOST_PRIORS = 512

_loaded: dict[tuple[str, str], "SharedQwen"] = {}
_loading = Lock()


@dataclass(frozen=True)
class Excerpt:
    """As much of a text as the model reads at once."""

    text: str
    cut_tokens: int
    """How many tokens were left out of the middle; 0: the text is whole."""


class SharedQwen:
    """One set of weights for everything; safe to use from many threads.

    Use ``SharedQwen.load``, which keeps one instance per process and model.
    """

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        *,
        name: str = "custom",
        capabilities: Capabilities | None = None,
        cache: PrefixCache | None = None,
    ) -> None:
        from transformers import GenerationConfig

        self.name = name
        self.model = model
        self.tokenizer = tokenizer
        self.capabilities = capabilities or Capabilities()
        self.chat = ChatML(tokenizer)
        self._cache = cache or PrefixCache()
        self._lock = RLock()
        self._priors: dict[tuple[object, ...], tuple[float, ...]] = {}
        stops = self.chat.stop_ids
        model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
            eos_token_id=list(stops), pad_token_id=stops[-1]
        )
        self.pipeline = QwenPipeline(model, tokenizer, self.chat.conversation, self._lock)
        self._scorer = Scorer(model, self._cache)
        self._writer = Writer(self.pipeline, self.chat, self._scorer, window=self.context_window, lock=self._lock)

    @classmethod
    def load(cls, name: str = loading.BUNDLED, *, device: str = "cpu") -> "SharedQwen":
        """The model of that name, loaded on the first call and shared from then on.

        Args:
            name: ``bundled``, a folder, or a hub id (only that one needs the network, and only the first time).
            device: a torch device.

        Raises:
            ModelNotFoundError: there is no such model, or it is broken.
        """
        key = (loading.resolve(name), device)
        with _loading:
            if key not in _loaded:
                found = loading.load(key[0], device=device)
                _loaded[key] = cls(found.model, found.tokenizer, name=name, capabilities=found.capabilities)
            return _loaded[key]

    @property
    def context_window(self) -> int:
        """Tokens that a prompt and its reply may have together."""
        return int(self.model.config.get_text_config().max_position_embeddings)

    @property
    def packs_branches(self) -> bool:
        """Whether all options share one forward pass; architectures with other than full attention read each alone."""
        return self._scorer.packs

    @property
    def cache_statistics(self) -> CacheStatistics:
        """How much reading the prefix cache saved."""
        return self._cache.statistics

    @property
    def calibration(self) -> Calibration:
        """The corrections that the model declares; decisions use them unless the caller gives others."""
        return Calibration(prior=self.capabilities.prior, per_token=self.capabilities.per_token)

    def forget(self) -> None:
        """Drop everything that was read and kept: needed only when the weights were changed in place."""
        with self._lock:
            self._cache.clear()
            self._priors.clear()

    def excerpt(self, text: str) -> Excerpt:
        """The text as decisions and replies read it: whole, or cut in its middle if the model declares a limit."""
        limit = self.capabilities.reading_tokens
        ids = self.chat.encode(text)
        if limit is None or len(ids) <= limit:
            return Excerpt(text, 0)
        half = limit // 2
        head, tail = self.chat.decode(ids[:half]), self.chat.decode(ids[-half:])
        return Excerpt(f"{head.rstrip(chr(0xFFFD))} … {tail.lstrip(chr(0xFFFD))}", len(ids) - 2 * half)

    def decide(
        self,
        text: str,
        questions: Mapping[str, Question],
        *,
        history: Sequence[Message] = (),
        layout: Layout | None = None,
        calibration: Calibration | None = None,
        acceptance: Acceptance | None = None,
    ) -> dict[str, Decision]:
        """Decide all questions about a text from one reading of it.

        Args:
            text: what the questions are about.
            questions: by names of the caller's choice.
            history: earlier turns of the conversation.
            layout: where the question stands; by default as the model declares.
            calibration: corrections; by default as the model declares.
            acceptance: bounds below which a decision abstains; none by default.

        Raises:
            EmptyTextError: the text is blank.
            QuestionError: there are no questions, or one makes no sense.
            TextTooLongError: text and questions exceed the context window.
        """
        corrections = calibration or self.calibration
        language = language_of(text)
        rendered = {
            name: [render_question(question, language, order=order) for order in corrections.orders(question)]
            for name, question in questions.items()
        }
        every = [each for orders in rendered.values() for each in orders]
        logs = iter(self._corrected(text, every, history, layout=layout, corrections=corrections))
        return {
            name: Decision.of(
                corrections.probabilities(questions[name], orders, [next(logs) for _ in orders]), acceptance
            )
            for name, orders in rendered.items()
        }

    def likelihoods(
        self,
        text: str,
        questions: Mapping[str, Question],
        *,
        history: Sequence[Message] = (),
        layout: Layout | None = None,
        packed: bool = True,
    ) -> dict[str, dict[str, float]]:
        """Log-likelihood of every option of every question: what decisions are made of.

        Args:
            text: what the questions are about.
            questions: by names of the caller's choice.
            history: earlier turns of the conversation.
            layout: where the question stands; by default as the model declares.
            packed: all in one pass behind a cached reading; False reads everything anew for each option, which is slow
                and must give the same.

        Raises:
            EmptyTextError: the text is blank.
            QuestionError: there are no questions, or one makes no sense.
            TextTooLongError: text and questions exceed the context window.
        """
        language, plain = language_of(text), Calibration()
        rendered = [
            render_question(question, language, order=plain.orders(question)[0]) for question in questions.values()
        ]
        logs = self._score(text, rendered, history, layout=layout, packed=packed)
        return {
            name: dict(zip(each.options, log, strict=True))
            for name, each, log in zip(questions, rendered, logs, strict=True)
        }

    def write(
        self, text: str, *, history: Sequence[Message] = (), notes: str = "", **options: Unpack[WritingOptions]
    ) -> Reply:
        """Write a reply to a text.

        Args:
            text: what the user says.
            history: earlier turns.
            notes: what the model should know for this reply only, such as memories; never part of the history.
            **options: fields of ``Writing``.

        Raises:
            EmptyTextError: the text is blank.
            TextTooLongError: there is no room for a reply.
        """
        with self.stream(text, history=history, notes=notes, **options) as stream:
            for _ in stream:
                pass
            return stream.reply

    def stream(
        self, text: str, *, history: Sequence[Message] = (), notes: str = "", **options: Unpack[WritingOptions]
    ) -> ReplyStream:
        """The same piece by piece, continuing from the text already read; leaving the loop cancels it."""
        messages = [*self._conversation(text, history, language_of(text))]
        return self.stream_reply(messages, notes=notes, **options)

    def stream_reply(
        self, messages: Sequence[Message], *, notes: str = "", thinking: bool = False, **options: Unpack[WritingOptions]
    ) -> ReplyStream:
        """Begin a reply to a conversation that is laid out already; ``notes`` go behind the branch point."""
        if notes and self.capabilities.layout == "instruction_first":
            messages, notes = _with_system(messages, notes), ""
        prefix = self.chat.turns(messages)
        branch = self.chat.turn(Message("system", notes)) if notes else []
        prompt = [*prefix, *branch, *self.chat.opening(thinking=thinking)]
        return self._writer.stream(prompt, Writing(**options), branch_point=len(prefix))

    def _conversation(self, text: str, history: Sequence[Message], language: Language) -> list[Message]:
        if not text.strip():
            raise EmptyTextError("the text is empty; give at least one character that is not white space")
        persona = Message("system", _PERSONA.render(language, "persona"))
        return [persona, *history, Message("user", self.excerpt(text).text)]

    def _score(
        self,
        text: str,
        questions: Sequence[RenderedQuestion],
        history: Sequence[Message] = (),
        *,
        layout: Layout | None,
        language: Language | None = None,
        packed: bool = True,
    ) -> LeafScores:
        if not questions:
            raise QuestionError("no questions were given; name at least one")
        messages = self._conversation(text, history, language or language_of(text))
        if (layout or self.capabilities.layout) == "text_first":
            prefix = self.chat.turns(messages)
            branches = [self._branch(self.chat.turn(Message("system", each.text)), each) for each in questions]
            groups = [branches]
        else:
            prefix = []
            branches = [self._branch(self.chat.turns(_with_system(messages, each.text)), each) for each in questions]
            groups = [[branch] for branch in branches]
        longest = len(prefix) + max(len(branch.stem) + max(map(len, branch.leaves)) for branch in branches)
        if longest > self.context_window:
            raise TextTooLongError(
                f"text and question have {longest} tokens, the model's context window {self.context_window}; "
                f"shorten the text"
            )
        score = self._scorer.score if packed else self._scorer.score_one_by_one
        with self._lock:
            return tuple(log for group in groups for log in score(prefix, group))

    def _branch(self, before: Sequence[int], question: RenderedQuestion) -> Branch:
        return Branch((*before, *self.chat.opening()), self._leaves(question))

    def _leaves(self, question: RenderedQuestion) -> tuple[tuple[int, ...], ...]:
        return tuple((*self.chat.encode(words), self.chat.end_of_turn) for words in question.options.values())

    def _corrected(
        self,
        text: str,
        questions: Sequence[RenderedQuestion],
        history: Sequence[Message],
        *,
        layout: Layout | None,
        corrections: Calibration,
    ) -> LeafScores:
        logs = self._score(text, questions, history, layout=layout)
        if corrections.prior:
            logs = without_prior(logs, self._prior(questions, language_of(text), layout))
        if corrections.per_token:
            logs = per_token(logs, [list(map(len, self._leaves(question))) for question in questions])
        return logs

    def _prior(
        self, questions: Sequence[RenderedQuestion], language: Language, layout: Layout | None
    ) -> list[tuple[float, ...]]:
        """Scores of the options for a content-free text, computed once per question and kept for the latest ones."""
        keys = [(question.text, tuple(question.options.items()), language, layout) for question in questions]
        with self._lock:
            new = {key: each for key, each in zip(keys, questions, strict=True) if key not in self._priors}
            if new:
                logs = self._score(_CONTENT_FREE, list(new.values()), layout=layout, language=language)
                self._priors |= zip(new, logs, strict=True)
            found = [self._priors[key] for key in keys]
            while len(self._priors) > _MOST_PRIORS:
                del self._priors[next(iter(self._priors))]
        return found


def _with_system(messages: Sequence[Message], words: str) -> list[Message]:
    """The conversation with these words at the end of its system turn, or in one of their own."""
    if messages and messages[0].role == "system":
        return [Message("system", f"{messages[0].content}\n\n{words}"), *messages[1:]]
    return [Message("system", words), *messages]
