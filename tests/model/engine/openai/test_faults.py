"""A server that is down, slow, overloaded or choosy, that talks nonsense or breaks off."""

import gc
import socket
import subprocess
import sys
import time
from threading import Event, Timer

import pytest
from scripted_server import (
    HTML,
    MOOD,
    Answer,
    Body,
    always,
    chunk,
    decided,
    models,
    reply,
    scripted_server,
)

from qwen_allinone.errors import (
    CapabilityError,
    InputError,
    ModelBusyError,
    QwenAllInOneError,
    ServerError,
    TextTooLongError,
)
from qwen_allinone.model import ChatSharedQwen, SharedQwen


def test_a_server_that_is_down_is_told_at_once() -> None:
    """Loading names the URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(ServerError, match=f"{url} cannot be reached"):
        SharedQwen.load(url)


def test_a_server_that_goes_down_later_fails_what_is_asked_then() -> None:
    """Decisions and replies, in one clear line."""
    with scripted_server(models=models("m")) as script:
        qwen = SharedQwen.load(script.url)
    with pytest.raises(ServerError, match="cannot be reached"):
        qwen.decide("好", {"mood": MOOD})
    with pytest.raises(ServerError, match="cannot be reached"):
        qwen.generate("好")


def test_a_slow_server_is_given_up() -> None:
    """After two tries of the timeout."""
    given_up = Event()

    def slow(_: Body) -> Answer:
        given_up.wait(120)
        return Answer({})

    with scripted_server(models=models("m"), systemone=slow) as script:
        qwen = SharedQwen.connect(script.url, timeout=0.1)
        with pytest.raises(ServerError, match="timed out"):
            qwen.decide("好", {"mood": MOOD})
        given_up.set()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, CapabilityError),
        (401, InputError),
        (429, ModelBusyError),
        (500, ServerError),
        (503, ServerError),
    ],
)
def test_a_refusal_has_its_own_error_with_the_words_of_the_server(status: int, error: type[QwenAllInOneError]) -> None:
    """The caller can tell what to mend."""
    refuse = always(Answer({"detail": "not today"}, status))
    with scripted_server(models=models("m"), systemone=refuse, chat=refuse) as script:
        qwen = SharedQwen.connect(script.url)
        with pytest.raises(error, match="not today"):
            qwen.decide("好", {"mood": MOOD})
        with pytest.raises(error, match="not today"):
            qwen.generate("好")


def test_a_text_that_the_server_finds_too_long_is_told_so() -> None:
    """As a model in memory does."""
    for answer in (
        Answer({"error": {"message": "maximum context length is 8 tokens"}}, 400),
        Answer({"error": {"message": "maximum size of a request"}}, 413),
    ):
        with (
            scripted_server(models=models("m"), chat=always(answer)) as script,
            pytest.raises(TextTooLongError, match="maximum"),
        ):
            SharedQwen.connect(script.url).generate("好")


@pytest.mark.parametrize(
    "answer",
    [
        HTML,
        Answer(b'{"answers": {"0": '),
        Answer([]),
        Answer({"answers": {}}),
        Answer({"answers": {"0": {}}}),
        Answer({"answers": {"0": {"probabilities": {"positive": 0.5}}}}),
        Answer({"answers": {"0": {"probabilities": {"positive": 0, "negative": 0}}}}),
        Answer({"answers": {"0": {"probabilities": {"positive": 1.5, "negative": -0.5}}}}),
        Answer({"answers": {"0": {"probabilities": {"positive": float("nan"), "negative": 0.5}}}}),
        Answer({"answers": {"0": {"probabilities": {"positive": "high", "negative": "low"}}}}),
    ],
    ids=lambda answer: str(answer.body)[:40],
)
def test_nonsense_is_no_decision(answer: Answer) -> None:
    """Whatever is not a probability of every option is an error."""
    with (
        scripted_server(models=models("m"), systemone=always(answer)) as script,
        pytest.raises(ServerError),
    ):
        SharedQwen.connect(script.url).decide("好", {"mood": MOOD})


@pytest.mark.parametrize(
    "answer",
    [
        HTML,
        Answer(["{", "[DONE]"], kind="text/event-stream"),
        Answer([chunk("你好")], kind="text/event-stream"),
        Answer([{"error": {"message": "out of memory"}}], kind="text/event-stream"),
        Answer([{"choices": "none"}, "[DONE]"], kind="text/event-stream"),
        Answer([chunk(5), chunk(finish="stop"), "[DONE]"], kind="text/event-stream"),  # type: ignore[arg-type]
    ],
    ids=["page", "no JSON", "broken off", "error", "no choices", "no text"],
)
def test_nonsense_is_no_reply(answer: Answer) -> None:
    """Neither is half of a reply."""
    with scripted_server(models=models("m"), chat=always(answer)) as script, pytest.raises(ServerError):
        SharedQwen.connect(script.url).generate("好")


def test_an_empty_reply_is_an_error_where_one_word_was_asked_for() -> None:
    """A server cannot be made to write one."""
    with scripted_server(models=models("m"), chat=reply()) as script:
        qwen = SharedQwen.connect(script.url)
        assert qwen.generate("好").text == ""
        with pytest.raises(ServerError, match="empty"):
            qwen.generate("好", min_new_tokens=1)


def test_one_text_that_fails_leaves_the_others() -> None:
    """In a run over many texts."""

    def answer(body: Body) -> Answer:
        if body["state"] == "bad":
            return Answer({"detail": "no"}, 400)
        return Answer({"answers": {"0": {"probabilities": {"positive": 0.75, "negative": 0.25}}}})

    with scripted_server(models=models("m"), systemone=answer) as script:
        texts = ["bad" if number % 5 == 3 else f"text {number}" for number in range(20)]
        decided = SharedQwen.connect(script.url).decide_all(
            ((text, {"mood": MOOD}) for text in texts), return_exceptions=True
        )
        answers = list(decided)
    for text, found in zip(texts, answers, strict=True):
        if text == "bad":
            assert isinstance(found, CapabilityError)
        else:
            assert isinstance(found, dict)
            assert found["mood"].probability == pytest.approx(0.75)


def test_leaving_decide_all_early_asks_no_further() -> None:
    """What was not sent yet is not sent."""
    with scripted_server(models=models("m"), systemone=decided(positive=0.5, negative=0.5)) as script:
        answers = SharedQwen.connect(script.url).decide_all((f"text {number}", {"mood": MOOD}) for number in range(200))
        next(answers)
        answers.close()  # type: ignore[attr-defined]
        time.sleep(0.3)
        assert len(script.asked) < 150


def endless(_: Body) -> Answer:
    """A reply of some seconds."""

    def pieces() -> object:
        for _ in range(500):
            time.sleep(0.01)
            yield chunk("啊" * 500)

    return Answer(pieces(), kind="text/event-stream")


@pytest.mark.parametrize("way", ["closed", "left", "stop text"])
def test_leaving_a_reply_closes_its_connection(way: str) -> None:
    """So the server can stop writing; also where nobody closes the reply, and before any garbage is collected."""
    gc.disable()
    try:
        with scripted_server(models=models("m"), chat=endless) as script:
            qwen = SharedQwen.connect(script.url)
            stream = qwen.stream("好", stop=["啊啊"] if way == "stop text" else [])
            if way == "closed":
                next(stream)
                stream.close()
            elif way == "left":
                next(stream)
                del stream
            else:
                assert list(stream) == []
            end = time.monotonic() + 4
            while not script.broken_off and time.monotonic() < end:
                time.sleep(0.01)
            assert script.broken_off
    finally:
        gc.enable()


def test_a_reply_that_is_cancelled_before_its_first_word_is_no_error() -> None:
    """Even where one word was asked for."""

    def late(_: Body) -> Answer:
        def pieces() -> object:
            yield chunk("")
            time.sleep(0.4)
            yield chunk("late")

        return Answer(pieces(), kind="text/event-stream")

    with scripted_server(models=models("m"), chat=late) as script:
        stream = SharedQwen.connect(script.url).stream("好", min_new_tokens=1)
        Timer(0.1, stream.close).start()
        assert list(stream) == []
        assert stream.reply.finish_reason == "cancelled"


def test_the_last_count_of_tokens_is_the_one_that_counts() -> None:
    """Some servers count with every piece; what is no number is not taken for one."""

    def counted(_: Body) -> Answer:
        usages = [{"prompt_tokens": 9, "completion_tokens": number} for number in (1, 2, 3)]
        pieces = [chunk("a", usage=usage) for usage in usages]
        return Answer([*pieces, chunk(finish="stop"), "[DONE]"], kind="text/event-stream")

    def odd(_: Body) -> Answer:
        usage = {"prompt_tokens": "many", "completion_tokens": "few"}
        return Answer([chunk("a", "stop", usage=usage), "[DONE]"], kind="text/event-stream")

    with scripted_server(models=models("m"), chat=counted) as script:
        reply = SharedQwen.connect(script.url).generate("好")
    assert (reply.prompt_tokens, reply.completion_tokens) == (9, 3)
    with scripted_server(models=models("m"), chat=odd) as script:
        assert ChatSharedQwen(qwen=SharedQwen.connect(script.url)).invoke("好").usage_metadata is not None


@pytest.mark.parametrize("asks", ["qwen.decide('x', asked)", "list(qwen.decide_all(('x', asked) for _ in range(20)))"])
def test_a_process_ends_while_a_server_keeps_it_waiting(asks: str) -> None:
    """Ctrl-C does not wait for what was asked."""
    ended = Event()

    def slow(_: Body) -> Answer:
        ended.wait(120)
        return Answer({})

    program = f"""
import _thread, signal, sys, threading
from qwen_allinone.model import Noul, SharedQwen
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a process in the background may not have
qwen, asked = SharedQwen.connect(sys.argv[1]), {{"need": Noul(instructions="?")}}
threading.Timer(0.3, _thread.interrupt_main).start()
try:
    {asks}
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    with (
        scripted_server(models=models("m"), systemone=slow) as script,
        subprocess.Popen([sys.executable, "-c", program, script.url], stdout=subprocess.PIPE) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == b"interrupted\n"
        process.wait(100)
        ended.set()
