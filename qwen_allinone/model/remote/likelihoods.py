"""Likelihoods of options as a server tells them."""

from collections.abc import Iterator, Sequence

from langchain_core.utils.iter import batch_iterate

from qwen_allinone.errors import CapabilityError, QwenAllInOneError
from qwen_allinone.model.capabilities import Layout
from qwen_allinone.model.likelihoods import Asked, joined
from qwen_allinone.model.questions import RenderedQuestion
from qwen_allinone.model.remote import letters, systemone
from qwen_allinone.model.remote.at_once import at_once
from qwen_allinone.model.remote.server import Server
from qwen_allinone.model.scorer import LeafScores


class ServerLikelihoods:
    """By ``/v1/systemone`` where the server has it, else by the letter with which a reply would begin.

    Args:
        server: answers.
        layout: where a question stands, if it is the second.
    """

    def __init__(self, server: Server, layout: Layout) -> None:
        self._server = server
        self._layout = layout
        self._by_letters = False
        """Whether the server is known to have no other way."""

    def of(self, asked: Asked, *, packed: bool = True) -> LeafScores:
        """All questions at once.

        Raises:
            CapabilityError: the server tells no likelihoods, or was told how to read.
        """
        if not packed:
            raise CapabilityError("a server reads as it sees fit; packed=False is for models in memory")
        portions = list(self._portions(asked))
        if len(portions) == 1:
            return self._answered(asked, portions[0])
        futures = at_once(lambda portion: self._answered(asked, portion), portions)
        try:
            return joined(each.result() for each in futures)
        finally:
            for each in futures:
                each.cancel()

    def of_all(self, asked: Sequence[Asked], *, batch_tokens: int) -> Iterator[LeafScores | QwenAllInOneError]:  # noqa: ARG002
        """Some texts at once; how many tokens a pass has is the server's business."""
        futures = at_once(self._scores_or_error, asked)
        try:
            for each in futures:
                yield each.result()
        finally:
            for each in futures:
                each.cancel()

    def tokens(self, question: RenderedQuestion) -> list[int]:  # noqa: ARG002
        """Refused.

        Raises:
            CapabilityError: always.
        """
        raise CapabilityError("a server does not tell how many tokens an option has; leave per_token out")

    def _scores_or_error(self, asked: Asked) -> LeafScores | QwenAllInOneError:
        try:
            return joined(self._answered(asked, portion) for portion in self._portions(asked))
        except QwenAllInOneError as error:
            return error

    def _portions(self, asked: Asked) -> Iterator[Sequence[RenderedQuestion]]:
        """Questions that share a request."""
        return batch_iterate(1 if self._by_letters else systemone.MOST_QUESTIONS, asked.questions)

    def _answered(self, asked: Asked, questions: Sequence[RenderedQuestion]) -> LeafScores:
        if not self._by_letters:
            found = systemone.likelihoods(self._server, asked, questions)
            if found is not None:
                return found
            self._by_letters = True
        layout = asked.layout or self._layout
        return tuple(letters.likelihoods(self._server, asked, each, layout) for each in questions)
