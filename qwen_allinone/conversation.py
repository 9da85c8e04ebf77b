"""A conversation: one turn after the other, each told what was said before."""

from qwen_allinone.assistant import Assistant, OpenTurn, Turn
from qwen_allinone.model import Message


class Conversation:
    """Keeps the history of a chat with the assistant; between turns it holds no lock and no open file.

    The oldest turns are left out once the history takes more than a quarter of the model's context window.

    Args:
        assistant: answers.
        user: whose memory is used and added to; None: no memory is touched.
    """

    def __init__(self, assistant: Assistant, *, user: str | None = None) -> None:
        self._assistant = assistant
        self._user = user
        self._history: list[Message] = []

    @property
    def history(self) -> tuple[Message, ...]:
        """What the next turn will be told, oldest first: always pairs of user and assistant."""
        return tuple(self._history)

    def begin(self, text: str) -> OpenTurn:
        """Mood, route and memories of the next input; its answer is yet to be written.

        Raises:
            EmptyTextError: the text is blank.
            StoreBusyError: another process held the memory for too long.
        """
        return self._assistant.begin(text, user=self._user, history=self._history, reply_to_opinions=True)

    def finish(self, turn: OpenTurn) -> Turn:
        """Remember the turn, also one whose answer was stopped half-way."""
        finished = self._assistant.finish(turn)
        if finished.output is not None:
            said = (Message("user", turn.text), Message("assistant", str(finished.output)))
            self._history = self._recent([*self._history, *said])
        return finished

    def _recent(self, history: list[Message]) -> list[Message]:
        qwen = self._assistant.qwen
        while len(qwen.chat.turns(history)) > qwen.context_window // 4:
            history = history[2:]
        return history
