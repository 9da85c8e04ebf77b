"""The one model in memory: it reads a text once, decides any number of questions about it, and writes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Unpack

from qwen_allinone import settings
from qwen_allinone.errors import CapabilityError, InputError, MissingExtraError, QwenAllInOneError
from qwen_allinone.model import loading
from qwen_allinone.model.calibration import Calibration
from qwen_allinone.model.capabilities import Capabilities, Layout
from qwen_allinone.model.chatml import ChatML, Message
from qwen_allinone.model.decider import Decider, Manner
from qwen_allinone.model.decision import Acceptance, Decision
from qwen_allinone.model.fair_lock import FairLock
from qwen_allinone.model.language import language_of
from qwen_allinone.model.likelihoods import ModelLikelihoods
from qwen_allinone.model.pipeline import QwenPipeline
from qwen_allinone.model.precision import Precision, load_precisely
from qwen_allinone.model.prefix_cache import CacheStatistics, PrefixCache
from qwen_allinone.model.probe import probe
from qwen_allinone.model.prompt_layout import Excerpt, PromptLayout, with_system
from qwen_allinone.model.questions import Question
from qwen_allinone.model.remote.address import is_url
from qwen_allinone.model.reply import Reply, ReplyStream
from qwen_allinone.model.scorer import Scorer
from qwen_allinone.model.verdict import Verdict
from qwen_allinone.model.writer import Writer
from qwen_allinone.model.writing import Writing, WritingOptions

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_loaded: dict[tuple[str, str, str], "SharedQwen"] = {}
_loading = Lock()


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
        precision: Verdict | None = None,
    ) -> None:
        from transformers import GenerationConfig

        self.name = name
        self.precision = precision or Verdict.of(model)
        self.model = model
        self.tokenizer = tokenizer
        self.capabilities = capabilities or Capabilities()
        self.chat = ChatML(tokenizer)
        self._cache = cache or PrefixCache()
        self._lock = FairLock()
        stops = self.chat.stop_ids
        model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
            eos_token_id=list(stops), pad_token_id=stops[-1]
        )
        self.pipeline = QwenPipeline(model, tokenizer, self.chat.conversation, self._lock)
        self._scorer = Scorer(model, self._cache, layers=self.capabilities.decision_layers)
        self._prompts = PromptLayout(self.chat, self.capabilities, self.context_window)
        self._decider = Decider(self._prompts, ModelLikelihoods(self._prompts, self._scorer, self._lock))
        self._writer = Writer(self.pipeline, self.chat, self._scorer, window=self.context_window, lock=self._lock)

    @classmethod
    def load(
        cls, name: str = loading.BUNDLED, *, device: str = "cpu", precision: Precision | None = None
    ) -> "SharedQwen":
        """The model of that name, loaded on the first call and shared from then on.

        Args:
            name: ``bundled``, a folder, a hub id (which needs the network the first time), or the URL of an
                OpenAI-compatible server, such as ``http://127.0.0.1:8000/v1#Qwen/Qwen2.5-0.5B-Instruct``.
            device: a torch device.
            precision: in which numbers it computes; by default what ``QWEN_ALLINONE_PRECISION`` says, else ``auto``:
                the fastest that decides as fp32 does, which a large model proves on its first load.

        Raises:
            ModelNotFoundError: there is no such model, or it is broken.
            InputError: there is no such device or precision.
            CapabilityError: the device cannot compute in that precision, a server was told which, or the model lacks
                layers after which it is declared to decide.
            ServerError: the server cannot be reached.
            MissingExtraError: the client for servers is not installed.
        """
        if is_url(name):
            return cls._remote(name, precision)
        wanted = precision or settings.precision()
        key = (loading.resolve(name), device, wanted)
        if key in _loaded:
            return _loaded[key]

        def answers(found: loading.LoadedModel) -> list[Decision]:
            examined = cls(found.model, found.tokenizer, capabilities=found.capabilities)
            return [answer for text, asked in probe() for answer in examined.decide(text, asked).values()]

        with _loading:
            if key not in _loaded:
                found, verdict = load_precisely(key[0], device=device, wanted=wanted, answers=answers)
                _loaded[key] = cls(
                    found.model, found.tokenizer, name=name, capabilities=found.capabilities, precision=verdict
                )
            return _loaded[key]

    @classmethod
    def _remote(cls, url: str, precision: Precision | None) -> "SharedQwen":
        try:
            from qwen_allinone.model.remote.qwen import RemoteQwen
        except ImportError as error:
            raise MissingExtraError(
                "a model on a server needs the openai client; pip install 'qwen-allinone[remote]'"
            ) from error
        if precision is not None:
            raise CapabilityError(f"the precision of {url} is the server's choice; leave it out")
        with _loading:
            key = (url, "", "")
            if key not in _loaded:
                _loaded[key] = RemoteQwen(url)
            return _loaded[key]

    @property
    def context_window(self) -> int:
        """Tokens that a prompt and its reply may have together."""
        return int(self.model.config.get_text_config().max_position_embeddings)

    @property
    def packs_branches(self) -> bool:
        """Whether all options share one row of a pass; those of other than full attention go on from clones."""
        return self._scorer.packs

    @property
    def cache_statistics(self) -> CacheStatistics:
        """How much reading the prefix cache saved."""
        return self._cache.statistics

    @property
    def cache_bytes(self) -> int:
        """Up to how many bytes the prefix cache keeps, 256 MiB by default; 0 keeps nothing."""
        return self._cache.max_bytes

    @cache_bytes.setter
    def cache_bytes(self, value: int) -> None:
        if value < 0:
            raise InputError(f"cache_bytes must be 0 or more, given {value}")
        self._cache.max_bytes = value

    @property
    def calibration(self) -> Calibration:
        """The corrections that the model declares; decisions use them unless the caller gives others."""
        return Calibration(prior=self.capabilities.prior, per_token=self.capabilities.per_token)

    def forget(self) -> None:
        """Drop everything that was read and kept: needed only when the weights were changed in place."""
        with self._lock:
            self._cache.clear()
        self._decider.forget()

    def excerpt(self, text: str) -> Excerpt:
        """The text as decisions and replies read it: whole, or cut in its middle if the model declares a limit."""
        return self._prompts.excerpt(text)

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
        manner = Manner(layout, calibration or self.calibration, acceptance)
        return self._decider.decide(text, questions, manner, history=history)

    def decide_all(
        self,
        texts: Iterable[tuple[str, Mapping[str, Question]]],
        *,
        layout: Layout | None = None,
        calibration: Calibration | None = None,
        acceptance: Acceptance | None = None,
        batch_tokens: int = 4096,
    ) -> Iterator[dict[str, Decision] | QwenAllInOneError]:
        """Decide about any number of texts, many in one pass; each gets what ``decide`` gives it alone.

        Args:
            texts: each with its questions; read as they are needed, some hundred at a time.
            layout: where the question stands; by default as the model declares.
            calibration: corrections; by default as the model declares.
            acceptance: bounds below which a decision abstains; none by default.
            batch_tokens: the most tokens of a pass, padding included, unless a single text has more.

        Yields:
            In the order of the texts, the decisions about each; where ``decide`` would raise, the error.
        """
        manner = Manner(layout, calibration or self.calibration, acceptance)
        return self._decider.decide_all(texts, manner, batch_tokens=batch_tokens)

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
        return self._decider.likelihoods(text, questions, Manner(layout), history=history, packed=packed)

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
        messages = self._prompts.conversation(text, history, language_of(text))
        return self.stream_reply(messages, notes=notes, **options)

    def stream_reply(
        self, messages: Sequence[Message], *, notes: str = "", thinking: bool = False, **options: Unpack[WritingOptions]
    ) -> ReplyStream:
        """Begin a reply to a conversation that is laid out already; ``notes`` go behind the branch point."""
        opening, writing = self.chat.opening(thinking=thinking), Writing(**options)
        if notes and self.capabilities.layout == "instruction_first":  # nothing of it comes again
            return self._writer.stream([*self.chat.turns(with_system(messages, notes)), *opening], writing)
        prefix = self.chat.turns(messages)
        branch = self.chat.turn(Message("system", notes)) if notes else []
        prompt = [*prefix, *branch, *opening]
        return self._writer.stream(prompt, writing, branch_point=len(prefix), goes_on=not notes)
