"""The one model in memory: it reads a text once, decides any number of questions about it, and replies."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from qwen_allinone import settings
from qwen_allinone.errors import CapabilityError, MissingExtraError, NotLocalError, QwenAllInOneError
from qwen_allinone.model.decisions.decider import Decider, ScoringConfig, ScoringOptions
from qwen_allinone.model.decisions.decision import Calibration, Decision
from qwen_allinone.model.decisions.learner import FitReport, Learner
from qwen_allinone.model.decisions.questions import Question
from qwen_allinone.model.decisions.self_test import learned_questions, self_test
from qwen_allinone.model.engine.base import Engine, Features, GenerateRequest, ReadRequest
from qwen_allinone.model.engine.capabilities import Capabilities, Layout
from qwen_allinone.model.engine.local.engine import LocalEngine
from qwen_allinone.model.engine.openai.address import Address, is_url
from qwen_allinone.model.engine.sampling import SamplingOptions, SamplingParams
from qwen_allinone.model.engine.stream import Reply, ReplyStream
from qwen_allinone.model.prompt.chatml import ChatML
from qwen_allinone.model.prompt.language import language_of
from qwen_allinone.model.prompt.layout import PromptLayout, TruncatedText
from qwen_allinone.model.prompt.messages import MessageLike, as_messages
from qwen_allinone.model.weights import loading
from qwen_allinone.model.weights.loading import LoadedModel
from qwen_allinone.model.weights.precision import Precision, load_in_precision
from qwen_allinone.model.weights.report import QuantizationReport

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_loaded: dict[tuple[str, str, str], "SharedQwen"] = {}
_loading = Lock()


class SharedQwen:
    """One model for everything; safe to use from many threads.

    Use ``SharedQwen.load``, which keeps one instance per process and model.

    Args:
        engine: reads, scores and generates.
        name: shown in results.
        quantization: the dtype of a local model; None: the server's choice, or not known.
    """

    def __init__(self, engine: Engine, *, name: str = "custom", quantization: QuantizationReport | None = None) -> None:
        self.engine = engine
        self.name = name
        self.quantization = quantization
        declared = engine.capabilities
        self._prompts = PromptLayout(
            engine.chat,
            max_input_tokens=declared.max_input_tokens,
            max_history_messages=declared.max_history_messages,
        )
        self._decider = Decider(engine, self._prompts)

    @classmethod
    def load(
        cls, name: str | Path = loading.BUNDLED, *, device: str = "cpu", precision: Precision | None = None
    ) -> "SharedQwen":
        """Load a model on the first call, and share it from then on.

        Args:
            name: ``bundled``, a folder, a hub id (which needs the network the first time), or the URL of an
                OpenAI-compatible server, such as ``http://127.0.0.1:8000/v1#Qwen/Qwen2.5-0.5B-Instruct``.
            device: a torch device.
            precision: by default what ``QWEN_ALLINONE_PRECISION`` says, else ``auto``: the fastest that decides as fp32
                does, which a large model proves on its first load.

        Raises:
            ModelNotFoundError: there is no such model, or it is broken.
            InputError: there is no such device or precision.
            CapabilityError: the device cannot compute in that precision, a server was told which, or the model lacks
                layers after which it is declared to decide.
            ServerError: the server cannot be reached.
            MissingExtraError: the client for servers is not installed.
        """
        name = str(name)
        if is_url(name):
            if precision is not None:
                raise CapabilityError(f"the precision of {name} is the server's choice; leave it out")
            with _loading:
                key = (name, "", "")
                if key not in _loaded:
                    _loaded[key] = cls.connect(name)
                return _loaded[key]
        wanted = precision or settings.precision()
        # Two names of one folder, or a relative and an absolute path, are the same model.
        key = (loading.resolve(name), device, wanted)
        # One at a time: two threads that load at once would hold the weights twice.
        with _loading:
            if key not in _loaded:
                found, report = load_in_precision(key[0], device=device, precision=wanted, self_test=_answers)
                _loaded[key] = cls(_engine(found), name=name, quantization=report)
            return _loaded[key]

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = 60.0,
        capabilities: Capabilities | None = None,
    ) -> "SharedQwen":
        """Use a model on an OpenAI-compatible server.

        Lengths are counted with the bundled tokenizer, which makes more tokens of a text than those of larger models.

        Args:
            url: of the server, with ``#NAME`` of the model where it has several.
            api_key: by default ``QWEN_ALLINONE_API_KEY``.
            timeout: seconds without a byte after which a request has failed; it is tried twice.
            capabilities: declared for the model.

        Raises:
            InputError: the URL, the key or the timeout makes no sense.
            ModelNotFoundError: the server has several models and none was named.
            ServerError: the server cannot be reached.
            MissingExtraError: the client for servers is not installed.
        """
        try:
            from qwen_allinone.model.engine.openai.engine import OpenAIEngine
        except ImportError as error:
            raise MissingExtraError("a model on a server needs the openai client; pip install 'openai>=2'") from error
        chat = ChatML(loading.load_tokenizer(str(loading.bundled_folder())))
        engine = OpenAIEngine(
            Address.from_name(url),
            chat,
            api_key=api_key or settings.api_key(),
            timeout=timeout,
            capabilities=capabilities,
        )
        return cls(engine, name=str(engine.address))

    @classmethod
    def from_model(
        cls, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", *, name: str = "custom", **options: Any
    ) -> "SharedQwen":
        """Share a model that is in memory already.

        Args:
            model: the weights.
            tokenizer: of the model.
            name: shown in results.
            **options: of ``LocalEngine``, such as ``capabilities``.
        """
        engine = LocalEngine(model, tokenizer, **options)
        return cls(engine, name=name, quantization=QuantizationReport.from_model(model))

    @property
    def capabilities(self) -> Capabilities:
        """Declaration of what the model is good at."""
        return self.engine.capabilities

    @property
    def chat(self) -> ChatML:
        """Encodes and decodes texts and turns."""
        return self.engine.chat

    @property
    def context_window(self) -> int:
        """Most tokens that a prompt and its reply have together."""
        return self.engine.context_window

    @property
    def local(self) -> LocalEngine:
        """The engine in this process: its model, tokenizer, prefix cache and scheduler.

        Raises:
            NotLocalError: the model is on a server.
        """
        if not isinstance(self.engine, LocalEngine):
            raise NotLocalError(
                f"{self.name} is on a server, which keeps its weights to itself; load a model in memory"
            )
        return self.engine

    @property
    def calibration(self) -> Calibration:
        """Corrections that the model declares; decisions use them unless the caller gives others."""
        return Calibration.from_capabilities(self.capabilities)

    def clear_cache(self) -> None:
        """Drop everything that was read and kept: needed only when the weights were changed in place."""
        self.engine.clear_cache()
        self._decider.clear_cache()

    def truncate(self, text: str) -> TruncatedText:
        """Return the text as decisions and replies read it: whole, or without its middle."""
        return self._prompts.truncate(text)

    def read(self, text: str, *, layer: int, history: Sequence[MessageLike] = ()) -> Features:
        """Return hidden states of a text, from the same pass that decisions and a reply go on from.

        Args:
            text: to be read.
            layer: number of layers after which they are taken, from 1.
            history: earlier turns of the conversation.

        Raises:
            EmptyTextError: the text is blank.
            CapabilityError: the engine gives no hidden states, or the model has fewer layers.
        """
        messages = self._prompts.conversation(text, history, language_of(text))
        (pending,) = self.engine.read([ReadRequest(messages, (layer,))])
        return pending.result()[layer]

    def decide(
        self,
        text: str,
        questions: Mapping[str, Question],
        *,
        history: Sequence[MessageLike] = (),
        **scoring: Unpack[ScoringOptions],
    ) -> dict[str, Decision]:
        """Decide all questions about a text from one reading of it.

        Args:
            text: the questions are about it.
            questions: by names of the caller's choice.
            history: earlier turns of the conversation.
            **scoring: fields of ``ScoringConfig``: layout, calibration, threshold, learned.

        Raises:
            EmptyTextError: the text is blank.
            QuestionError: there are no questions, or one makes no sense.
            TextTooLongError: text and questions exceed the context window.
        """
        return self._decider.decide(text, questions, ScoringConfig(**scoring), history=history)

    @property
    def digest(self) -> str:
        """Digest of the model, in its precision, and of how it reads: what is learned holds for no other."""
        return self._decider.learner.digest

    @property
    def learner(self) -> Learner:
        """Fits and keeps the heads of questions with examples."""
        return self._decider.learner

    def fit(self, questions: Iterable[Question]) -> list[FitReport | None]:
        """Learn to decide questions that have examples, all from one reading of them; ``decide`` does it at first use.

        What is fitted is kept in the cache folder, by digests of model and examples.

        Returns:
            For each question the way it is decided and how good that is out of fold; None: it is scored, because it has
            no examples, or too few, or the model is on a server.
        """
        return self.learner.fit(questions)

    @overload
    def decide_all(
        self,
        texts: Iterable[tuple[str, Mapping[str, Question]]],
        *,
        return_exceptions: Literal[False] = False,
        **scoring: Unpack[ScoringOptions],
    ) -> Iterator[dict[str, Decision]]: ...

    @overload
    def decide_all(
        self,
        texts: Iterable[tuple[str, Mapping[str, Question]]],
        *,
        return_exceptions: Literal[True],
        **scoring: Unpack[ScoringOptions],
    ) -> Iterator[dict[str, Decision] | QwenAllInOneError]: ...

    def decide_all(
        self,
        texts: Iterable[tuple[str, Mapping[str, Question]]],
        *,
        return_exceptions: bool = False,
        **scoring: Unpack[ScoringOptions],
    ) -> Iterator[dict[str, Decision] | QwenAllInOneError]:
        """Decide about any number of texts, many in one pass; each gets what ``decide`` gives it alone.

        Args:
            texts: each with its questions; read as they are needed, some hundred at a time.
            return_exceptions: yield the error of a text in its place; otherwise the first one is raised.
            **scoring: fields of ``ScoringConfig``: layout, calibration, threshold, learned.

        Yields:
            In the order of the texts, the decisions about each.
        """
        return self._decider.decide_all(texts, ScoringConfig(**scoring), return_exceptions=return_exceptions)

    def loglikelihoods(
        self,
        text: str,
        questions: Mapping[str, Question],
        *,
        history: Sequence[MessageLike] = (),
        layout: Layout | None = None,
        packed: bool = True,
    ) -> dict[str, Mapping[str, float]]:
        """Return the log-likelihood of every option of every question: what decisions are made of.

        Args:
            text: the questions are about it.
            questions: by names of the caller's choice.
            history: earlier turns of the conversation.
            layout: place of the questions; by default as the model declares.
            packed: all in one pass behind a cached reading; False reads everything anew for each option, which is slow,
                must give the same, and needs a model in memory.

        Raises:
            EmptyTextError: the text is blank.
            QuestionError: there are no questions, or one makes no sense.
            TextTooLongError: text and questions exceed the context window.
        """
        config = ScoringConfig(layout, Calibration())
        request = self._decider.request(text, questions, config, history=history)
        scores = self.engine.score([request])[0].result() if packed else self.local.score_one_by_one(request)
        return {name: scores[name, 0] for name in questions}

    def generate(
        self,
        text: str,
        *,
        history: Sequence[MessageLike] = (),
        context: str = "",
        **options: Unpack[SamplingOptions],
    ) -> Reply:
        """Reply to a text.

        Args:
            text: said by the user.
            history: earlier turns.
            context: told to the model for this reply only, such as memories; never part of the history.
            **options: fields of ``SamplingParams``.

        Raises:
            EmptyTextError: the text is blank.
            TextTooLongError: there is no room for a reply.
        """
        with self.stream(text, history=history, context=context, **options) as stream:
            for _ in stream:
                pass
            return stream.reply

    def stream(
        self,
        text: str,
        *,
        history: Sequence[MessageLike] = (),
        context: str = "",
        **options: Unpack[SamplingOptions],
    ) -> ReplyStream:
        """Reply piece by piece, going on from the text already read; leaving the loop cancels the reply."""
        messages = self._prompts.conversation(text, history, language_of(text))
        return self.stream_messages(messages, context=context, **options)

    def stream_messages(
        self,
        messages: Sequence[MessageLike],
        *,
        context: str = "",
        thinking: bool = False,
        **options: Unpack[SamplingOptions],
    ) -> ReplyStream:
        """Reply to a conversation that has its system turn already; ``context`` is put behind the branch point."""
        sampling = SamplingParams(**options)
        return self.engine.generate(GenerateRequest(as_messages(messages), sampling, context, thinking))


def _engine(found: LoadedModel) -> LocalEngine:
    heads = Path(found.name) / "heads"
    shipped = heads if heads.is_dir() else None
    return LocalEngine(found.model, found.tokenizer, capabilities=found.capabilities, heads=shipped)


def _answers(found: LoadedModel) -> list[Decision]:
    """Take the self-test."""
    examined = SharedQwen(_engine(found))
    answers: list[Decision] = []
    for text, questions in self_test():
        answers += examined.decide(text, questions).values()
    for question in learned_questions():
        answers += [decision for _, _, decision in examined.learner.out_of_fold(question)]
    return answers
