"""Many threads, one model: everybody gets what they would get alone, and nobody waits for a long reply to end."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_qwen import ENGLISH, MOOD, QUESTIONS, TEXT, fresh, laid_out

from qwen_allinone.errors import ModelBusyError, ModelMemoryError
from qwen_allinone.model import SharedQwen, reply_batch
from qwen_allinone.model.branches import Inquiry
from qwen_allinone.model.writer import Writer

TEXTS = [TEXT, ENGLISH, "大家都很高兴。" * 12, "What?", "今天是星期三", "The whole team is happy today. " * 5]
WAYS: list[dict[str, Any]] = [
    {"max_new_tokens": 12},
    {"max_new_tokens": 30, "repetition_penalty": 1.3, "min_new_tokens": 20},
    {"max_new_tokens": 7, "temperature": 0.8, "top_p": 0.9, "seed": 5},
    {"max_new_tokens": 1},
    {"max_new_tokens": 25, "temperature": 1.0, "seed": 6},
    {"max_new_tokens": 40, "notes": "Be brief."},
]


@contextmanager
def _passes(qwen: SharedQwen, told: Callable[[int], object] = lambda _: None) -> Iterator[list[int]]:
    """The rows of every forward pass."""
    rows: list[int] = []

    def note(_module: Any, _arguments: Any, options: dict[str, Any]) -> None:
        rows.append(len(options["input_ids"]))
        told(len(rows))

    hook = qwen.model.base_model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield rows
    finally:
        hook.remove()


def _under_way(qwen: SharedQwen, **options: Any) -> Any:
    """A long reply of which the first piece is there."""
    stream = qwen.stream("今天是星期三", **{"min_new_tokens": 300, "max_new_tokens": 300} | options)
    next(stream)
    return stream


def test_replies_written_together_are_those_written_alone(any_qwen: SharedQwen) -> None:
    """Prompts and replies of all lengths, greedy, penalised and sampled, on every architecture."""
    alone = [fresh(any_qwen).write(text, **options) for text, options in zip(TEXTS, WAYS, strict=True)]
    shared = fresh(any_qwen)
    with _passes(shared) as rows, ThreadPoolExecutor(len(TEXTS)) as pool:
        together = list(pool.map(lambda pair: shared.write(pair[0], **pair[1]), zip(TEXTS, WAYS, strict=True)))
    assert together == alone
    assert max(rows) > 1


def test_a_new_reply_joins_one_that_is_under_way(qwen: SharedQwen) -> None:
    """It is finished long before the other, whose text it does not change."""
    shared = fresh(qwen)
    expected = shared.write("今天是星期三", min_new_tokens=300, max_new_tokens=300)
    with _passes(shared) as rows:
        long = _under_way(shared)
        assert shared.write(TEXT, max_new_tokens=5, min_new_tokens=5).new_tokens == 5
        assert len(rows) < 200
        list(long)
    assert long.reply == expected


def test_decisions_come_between_the_steps_of_a_reply(qwen: SharedQwen) -> None:
    """A decision waits for a step or two, not for the reply."""
    shared = fresh(qwen)
    expected = shared.decide(TEXT, QUESTIONS)
    shared.forget()
    long = _under_way(shared)
    with _passes(shared) as rows:
        assert shared.decide(TEXT, QUESTIONS) == expected
        assert len(rows) < 100
    long.close()


def test_a_cancelled_reply_leaves_the_others_untouched(qwen: SharedQwen) -> None:
    """Whichever of several replies is closed in the middle."""
    shared = fresh(qwen)
    expected = shared.write("今天是星期三", min_new_tokens=300, max_new_tokens=300).text
    for cancelled in range(3):
        streams = [_under_way(shared) for _ in range(3)]
        streams[cancelled].close()
        for number, stream in enumerate(streams):
            list(stream)
            if number != cancelled:
                assert stream.reply.text == expected
        assert streams[cancelled].reply.finish_reason == "cancelled"


def test_closing_a_reply_that_waits_does_not_wait_for_the_others(
    qwen: SharedQwen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its place in the queue is free at the next step."""
    monkeypatch.setattr(reply_batch, "_AT_ONCE", 1)
    shared = fresh(qwen)
    long = _under_way(shared)
    waiting = shared.stream(TEXT)
    with _passes(shared) as rows, ThreadPoolExecutor(1) as pool:
        read = pool.submit(list, waiting)
        while not _batch(shared._writer)._waiting:
            threading.Event().wait(0.001)
        waiting.close()
        assert len(rows) < 200
        assert read.result() == []
    assert not _batch(shared._writer)._waiting
    long.close()


def test_a_reply_that_is_left_without_being_closed_ends(qwen: SharedQwen) -> None:
    """Also one that is collected by a thread that holds the model."""
    shared = fresh(qwen)
    streams = [_under_way(shared) for _ in range(3)]
    with shared._lock:
        streams.clear()
    while _batch(shared._writer)._rows:
        threading.Event().wait(0.001)
    assert shared.write(TEXT, max_new_tokens=3, min_new_tokens=3).new_tokens == 3


def test_what_fails_in_one_reply_stays_there(qwen: SharedQwen, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are written to their end."""
    shared = fresh(qwen)
    expected = shared.write("今天是星期三", min_new_tokens=300, max_new_tokens=300).text
    long = _under_way(shared)
    broken = shared.stream(TEXT, max_new_tokens=20, min_new_tokens=20)
    monkeypatch.setattr(broken._generation, "processors", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(broken)
    list(long)
    assert long.reply.text == expected


def test_a_step_that_fails_ends_its_replies_and_no_others(qwen: SharedQwen) -> None:
    """All that took part in it are told, and the next reply works."""
    shared = fresh(qwen)

    def fail(count: int) -> None:
        if count == 4:
            raise MemoryError("no room")

    streams = [_under_way(shared) for _ in range(2)]
    with _passes(shared, fail):
        for stream in streams:
            with pytest.raises(ModelMemoryError, match="precision='int8'"):
                list(stream)
    assert shared.write(TEXT, max_new_tokens=4, min_new_tokens=4).new_tokens == 4


def test_no_more_than_some_replies_wait(qwen: SharedQwen, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is refused at once, and those who wait are served."""
    monkeypatch.setattr(reply_batch, "_AT_ONCE", 1)
    monkeypatch.setattr(reply_batch, "_MOST_WAITING", 2)
    shared = fresh(qwen)
    long = _under_way(shared)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(shared.write, TEXT, max_new_tokens=3) for _ in range(2)]
        while len(_batch(shared._writer)._waiting) < 2:
            threading.Event().wait(0.001)
        with pytest.raises(ModelBusyError, match="2 replies are waiting"):
            shared.write(TEXT, max_new_tokens=3)
        long.close()
        assert len({each.result() for each in waiting}) == 1


def _batch(writer: Writer) -> reply_batch.ReplyBatch:
    assert writer._batch is not None
    return writer._batch


def test_decisions_of_many_threads_share_a_pass(any_qwen: SharedQwen) -> None:
    """Those that come while the model works are decided in one pass, as each would be alone."""
    alone = [fresh(any_qwen).decide(text, QUESTIONS) for text in TEXTS]
    shared = fresh(any_qwen)
    with _passes(shared) as rows, ThreadPoolExecutor(len(TEXTS)) as pool:
        with shared._lock:
            asked = [pool.submit(shared.decide, text, QUESTIONS) for text in TEXTS]
            while len(shared._lock._waiting) < len(TEXTS):
                threading.Event().wait(0.001)
        found = [each.result() for each in asked]
    assert max(rows) == len(TEXTS)
    for decided, expected in zip(found, alone, strict=True):
        for name, decision in decided.items():
            assert dict(decision.probabilities) == pytest.approx(dict(expected[name].probabilities), abs=1e-4)


def test_what_was_decided_together_is_not_read_again(qwen: SharedQwen) -> None:
    """The reading of each text is kept, and its reply goes on from there."""
    shared = fresh(qwen)
    inquiries = [
        Inquiry(tuple(shared.chat.turns(shared._prompts.conversation(text, (), "zh"))), each.branches)
        for text in TEXTS[:3]
        for each in shared._decider._asked(text, {"mood": MOOD}, _manner(shared)).inquiries
    ]
    together = shared._scorer.score_all(inquiries, keep=True)
    before = shared.cache_statistics.reused_tokens
    for inquiry, scores in zip(inquiries, together, strict=True):
        states = shared._scorer.read(inquiry.prefix)
        assert states[0][0].shape[2] == len(inquiry.prefix)
        (alone,) = fresh(qwen)._scorer.score_all([inquiry])
        assert scores[0] == pytest.approx(alone[0], abs=1e-3)
    assert shared.cache_statistics.reused_tokens - before == sum(len(each.prefix) for each in inquiries)


def _manner(qwen: SharedQwen) -> Any:
    from qwen_allinone.model.decider import Manner

    return Manner(calibration=qwen.calibration)


def test_an_error_in_one_decision_leaves_those_of_its_pass_untouched(
    qwen: SharedQwen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass that fails is taken apart."""
    shared = fresh(qwen)
    expected = shared.decide(TEXT, QUESTIONS)
    whole = shared._scorer.score_all
    poison = tuple(shared.chat.encode("POISON"))

    def score_all(inquiries: list[Inquiry], **options: Any) -> Any:
        if any(poison == each.prefix[at : at + len(poison)] for each in inquiries for at in range(len(each.prefix))):
            raise ZeroDivisionError
        return whole(inquiries, **options)

    monkeypatch.setattr(shared._scorer, "score_all", score_all)
    with ThreadPoolExecutor(3) as pool:
        with shared._lock:
            asked = [pool.submit(shared.decide, text, QUESTIONS) for text in (TEXT, "POISON", TEXT)]
            while len(shared._lock._waiting) < 3:
                threading.Event().wait(0.001)
        first, second, third = asked
        for good in (first, third):
            for name, decision in good.result().items():
                assert dict(decision.probabilities) == pytest.approx(dict(expected[name].probabilities), abs=1e-4)
        with pytest.raises(ZeroDivisionError):
            second.result()


def test_texts_that_were_read_before_are_not_read_again_together(qwen: SharedQwen) -> None:
    """Waiting threads that ask about known texts go on from the readings that are there."""
    shared = fresh(qwen)
    for text in TEXTS[:3]:
        shared.decide(text, {"mood": MOOD})
    with _passes(shared) as rows, ThreadPoolExecutor(3) as pool:
        before = shared.cache_statistics.reused_tokens
        with shared._lock:
            asked = [pool.submit(shared.decide, text, QUESTIONS) for text in TEXTS[:3]]
            while len(shared._lock._waiting) < 3:
                threading.Event().wait(0.001)
        for each in asked:
            each.result()
    assert rows == [1, 1, 1]
    known = sum(len(shared.chat.turns(laid_out(text))) for text in TEXTS[:3])
    assert shared.cache_statistics.reused_tokens - before == known


def test_an_interrupted_decision_leaves_those_of_its_pass_to_their_own_threads(
    qwen: SharedQwen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C reaches the thread that it was meant for, and the others are answered."""
    shared = fresh(qwen)
    whole, interrupted = shared._scorer.score_all, []

    def score_all(inquiries: list[Inquiry], **options: Any) -> Any:
        if len(inquiries) == 3 and not interrupted:
            interrupted.append(threading.current_thread())
            raise KeyboardInterrupt
        return whole(inquiries, **options)

    monkeypatch.setattr(shared._scorer, "score_all", score_all)
    with ThreadPoolExecutor(3) as pool:
        with shared._lock:
            asked = [pool.submit(shared.decide, text, {"mood": MOOD}) for text in TEXTS[:3]]
            while len(shared._lock._waiting) < 3:
                threading.Event().wait(0.001)
        errors = [each.exception() for each in asked]
    assert [type(error) for error in errors if error is not None] == [KeyboardInterrupt]
    assert not shared._decider._merged._waiting


def test_no_memory_for_many_texts_is_no_error_for_one(qwen: SharedQwen, monkeypatch: pytest.MonkeyPatch) -> None:
    """``decide_all`` takes a pass apart that does not fit, and yields an error for a text that does not fit alone."""
    shared = fresh(qwen)
    expected = [fresh(qwen).decide(text, QUESTIONS) for text in TEXTS]
    whole = shared._scorer.score_all
    tokens = {text: len(shared.chat.turns(laid_out(text))) for text in TEXTS}
    longest = max(TEXTS, key=lambda text: tokens[text])

    def score_all(inquiries: list[Inquiry], **options: Any) -> Any:
        too_long = any(len(each.prefix) == tokens[longest] for each in inquiries)
        if len(inquiries) > 1 or too_long:
            raise ModelMemoryError("no room")
        return whole(inquiries, **options)

    monkeypatch.setattr(shared._scorer, "score_all", score_all)
    for text, found, wanted in zip(
        TEXTS, shared.decide_all((text, QUESTIONS) for text in TEXTS), expected, strict=True
    ):
        if text == longest:
            assert isinstance(found, ModelMemoryError)
        else:
            assert isinstance(found, dict)
            assert found.keys() == wanted.keys()


def test_what_an_overflow_leaves_behind_reaches_nobody(qwen: SharedQwen) -> None:
    """A place that held no number before is hidden from the next reply, and clean."""
    shared = fresh(qwen)
    expected = shared.write(TEXT, max_new_tokens=6, min_new_tokens=6)
    long = _under_way(shared)
    broken = _under_way(shared)
    with shared._lock, torch.inference_mode():
        for layer in _batch(shared._writer)._states._layers:
            for tensor in layer:
                tensor[1] = float("inf")
    broken.close()
    assert shared.write(TEXT, max_new_tokens=6, min_new_tokens=6) == expected
    long.close()


@pytest.mark.parametrize("broken", ["_leave", "_goes_on"])
def test_whatever_ends_the_loop_is_told_to_all_and_the_next_reply_works(
    qwen: SharedQwen, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Nobody waits for a thread that is gone."""
    shared = fresh(qwen)
    streams = [_under_way(shared) for _ in range(2)]

    def fail() -> bool:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(_batch(shared._writer), broken, fail)
        for stream in streams:
            with pytest.raises(ZeroDivisionError):
                list(stream)
    assert shared.write(TEXT, max_new_tokens=3, min_new_tokens=3).new_tokens == 3


def test_a_thread_that_cannot_be_started_is_an_error_of_that_reply(
    qwen: SharedQwen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one starts its own."""
    shared = fresh(qwen)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            shared.write(TEXT, max_new_tokens=3)
    assert shared.write(TEXT, max_new_tokens=3, min_new_tokens=3).new_tokens == 3


def test_a_process_may_end_while_a_reply_is_under_way(model_folder: Path) -> None:
    """It ends with the exit code that it would have, and not by a signal."""
    program = (
        "import sys\n"
        "from qwen_allinone.model import SharedQwen\n"
        f"stream = SharedQwen.load({str(model_folder)!r}).stream('hello', min_new_tokens=900, max_new_tokens=900)\n"
        "next(stream)\n"
        "sys.exit(7)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=120).returncode == 7


def test_a_process_may_end_right_after_a_reply(model_folder: Path) -> None:
    """The thread that wrote it is waited for, however short its way out of torch."""
    program = (
        "from qwen_allinone.model import SharedQwen\n"
        f"qwen = SharedQwen.load({str(model_folder)!r})\n"
        "qwen.write('hello', max_new_tokens=3)\n"
    )
    for _ in range(3):
        assert subprocess.run([sys.executable, "-c", program], check=False, timeout=120).returncode == 0


def test_replies_that_would_need_too_much_memory_together_wait(
    qwen: SharedQwen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many at once as fit, all counted as long as the longest; a single one always may."""
    monkeypatch.setattr(reply_batch, "_MOST_PLACES", 200)
    shared = fresh(qwen)
    with _passes(shared) as rows, ThreadPoolExecutor(3) as pool:
        written = list(pool.map(lambda _: shared.write(TEXT, max_new_tokens=150, min_new_tokens=150), range(3)))
    assert max(rows) == 1
    assert len(set(written)) == 1


def test_sixteen_threads_get_what_each_would_get_alone(any_qwen: SharedQwen) -> None:
    """Decisions, replies and cancelled replies, all at once, several times over."""
    expected_replies = [fresh(any_qwen).write(text, max_new_tokens=10) for text in TEXTS]
    expected = [fresh(any_qwen).decide(text, QUESTIONS) for text in TEXTS]
    shared = fresh(any_qwen)

    def work(number: int) -> None:
        for turn in range(4):
            place = (number + turn) % len(TEXTS)
            if (number + turn) % 3 == 0:
                for name, decision in shared.decide(TEXTS[place], QUESTIONS).items():
                    assert dict(decision.probabilities) == pytest.approx(
                        dict(expected[place][name].probabilities), abs=1e-4
                    )
            elif (number + turn) % 3 == 1:
                assert shared.write(TEXTS[place], max_new_tokens=10) == expected_replies[place]
            else:
                with shared.stream(TEXTS[place], max_new_tokens=200, min_new_tokens=200) as stream:
                    next(stream)
                assert stream.reply.finish_reason == "cancelled"

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
