import threading
import time

import pytest
from many_threads import wait_until
from tiny_qwen import REPLIES

from qwen_allinone.model.engine.local import scheduler

ZH, EN = REPLIES
ANSWER = REPLIES[ZH]


def comes_to_rest(qwen) -> bool:
    """Tell whether no reply is under way a moment later."""
    wait_until(lambda: qwen.local.scheduler.load.idle)
    return True


class Steps:
    """Counts the forward passes of a model, and can make one of them slow or fail."""

    def __init__(self, model, *, pause: float = 0.0, fail_at: int | None = None):
        self.model, self.pause, self.fail_at, self.count = model, pause, fail_at, 0

    def __enter__(self):
        self._hook = self.model.base_model.register_forward_pre_hook(self._step)
        return self

    def __exit__(self, *_):
        self._hook.remove()

    def _step(self, *_):
        self.count += 1
        time.sleep(self.pause)
        if self.count == self.fail_at:
            raise ZeroDivisionError("the model broke")


def test_characters_are_whole_in_every_piece(trained):
    """A character that takes several tokens is handed on once it is complete."""
    pieces = list(trained.stream(ZH))
    assert all("\ufffd" not in piece for piece in pieces)
    assert "🎉" in pieces
    assert len(pieces) > 5
    assert "".join(pieces) == ANSWER


def test_pieces_come_while_the_model_still_writes(trained):
    """The first piece is there long before the last."""
    with Steps(trained.local.model, pause=0.02) as steps:
        stream = trained.stream(ZH)
        next(stream)
        first = steps.count
        list(stream)
    assert first < steps.count / 2


def test_an_incomplete_character_at_the_end_is_marked(trained):
    """A reply that is cut inside a character ends with the replacement mark, and with nothing else added."""
    tokens = len(trained.chat.encode("太好了"))
    reply = trained.generate(ZH, max_new_tokens=tokens + 1)
    assert reply.text == "太好了\ufffd"


def test_nothing_runs_before_the_first_piece_is_asked_for(qwen):
    """A stream that nobody reads costs nothing."""
    with Steps(qwen.local.model) as steps:
        stream = qwen.stream(ZH)
        stream.close()
    assert steps.count == 0
    assert stream.reply.text == ""


def test_leaving_the_loop_cancels(qwen):
    """A consumer that leaves ends the generation."""
    with Steps(qwen.local.model, pause=0.005) as steps:
        for _ in qwen.stream(ZH, min_new_tokens=900, max_new_tokens=900):
            break
        assert comes_to_rest(qwen)
    assert steps.count < 300


def test_closing_cancels_and_says_so(qwen):
    """A stream that was closed early holds what was written and says that it was cancelled."""
    with qwen.stream(ZH, min_new_tokens=900, max_new_tokens=900) as stream:
        first = next(stream)
    assert comes_to_rest(qwen)
    assert (stream.reply.text, stream.reply.finish_reason) == (first, "cancelled")
    assert list(stream) == []


def test_an_error_in_the_consumer_cancels(qwen):
    """An exception in the loop body ends the generation as well."""
    with pytest.raises(KeyError), qwen.stream(ZH, min_new_tokens=900, max_new_tokens=900) as stream:
        next(stream)
        raise KeyError
    assert comes_to_rest(qwen)


def test_a_stream_can_be_closed_from_another_thread(qwen):
    """Closing a stream that another thread reads ends it there: no error, and no more pieces."""
    stream = qwen.stream(ZH, min_new_tokens=900, max_new_tokens=900)
    with Steps(qwen.local.model, pause=0.005) as steps:
        next(stream)
        threading.Timer(0.1, stream.close).start()
        read = list(stream)
    assert len(read) < 300
    assert steps.count < 300
    assert stream.reply.finish_reason == "cancelled"
    assert comes_to_rest(qwen)


def test_a_stream_that_is_closed_while_it_waits_never_runs(trained, monkeypatch):
    """A stream that is closed while others generate gives up its place in the queue."""
    monkeypatch.setattr(scheduler, "MAX_REPLIES", 1)
    first = trained.stream(EN, min_new_tokens=40, max_new_tokens=40)
    with Steps(trained.local.model, pause=0.01) as steps:
        next(first)
        waiting = trained.stream(ZH)
        threading.Timer(0.1, waiting.close).start()
        assert list(waiting) == []
        list(first)
    assert steps.count <= 41
    assert waiting.reply.finish_reason == "cancelled"


def test_errors_of_the_model_reach_the_consumer(qwen):
    """What goes wrong in the scheduler's thread is raised where the reply is read, and the next reply works."""
    expected = qwen.generate(ZH, max_new_tokens=4)
    with Steps(qwen.local.model, fail_at=3), pytest.raises(ZeroDivisionError, match="the model broke"):
        qwen.generate(ZH, max_new_tokens=8, min_new_tokens=8)
    assert comes_to_rest(qwen)
    assert qwen.generate(ZH, max_new_tokens=4) == expected


def test_a_reply_under_way_can_be_looked_at(trained):
    """The reply so far is there at any time."""
    stream = trained.stream(EN)
    text = ""
    for piece in stream:
        text += piece
        assert stream.reply.text == text
    assert stream.reply.finish_reason == "stop"


def test_generation_ends_with_the_stop_text(qwen):
    """After a stop text the model is not run to the end of the reply."""
    text = qwen.generate(ZH, max_new_tokens=4, min_new_tokens=4).text
    with Steps(qwen.local.model, pause=0.01) as steps:
        qwen.generate(ZH, max_new_tokens=400, min_new_tokens=400, stop=[text[0]])
    assert steps.count < 300
    assert comes_to_rest(qwen)
