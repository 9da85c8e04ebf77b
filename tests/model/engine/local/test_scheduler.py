"""The loop: replies of several threads, each as it would be alone, whatever befalls the others."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from many_threads import TEXTS, passes, under_way, wait_until
from tiny_qwen import TEXT, fresh

from qwen_allinone.errors import ModelBusyError, ModelMemoryError
from qwen_allinone.model import SharedQwen
from qwen_allinone.model.engine.local import scheduler
from qwen_allinone.model.engine.local.kv_rows import KVRows

WAYS: list[dict[str, Any]] = [
    {"max_new_tokens": 12},
    {"max_new_tokens": 30, "repetition_penalty": 1.3, "min_new_tokens": 20},
    {"max_new_tokens": 7, "temperature": 0.8, "top_p": 0.9, "seed": 5},
    {"max_new_tokens": 1},
    {"max_new_tokens": 25, "temperature": 1.0, "seed": 6},
    {"max_new_tokens": 40, "context": "Be brief."},
]


def test_replies_written_together_are_those_written_alone(any_qwen: SharedQwen) -> None:
    """Prompts and replies of all lengths, greedy, penalised and sampled, on every architecture."""
    alone = [fresh(any_qwen).generate(text, **options) for text, options in zip(TEXTS, WAYS, strict=True)]
    shared = fresh(any_qwen)
    with passes(shared) as rows, ThreadPoolExecutor(len(TEXTS)) as pool:
        together = list(pool.map(lambda pair: shared.generate(pair[0], **pair[1]), zip(TEXTS, WAYS, strict=True)))
    assert together == alone
    assert max(rows) > 1


def test_a_new_reply_joins_one_that_is_under_way(qwen: SharedQwen) -> None:
    """It is finished long before the other, whose text it does not change."""
    shared = fresh(qwen)
    expected = shared.generate("今天是星期三", min_new_tokens=300, max_new_tokens=300)
    with passes(shared) as rows:
        long = under_way(shared)
        assert shared.generate(TEXT, max_new_tokens=5, min_new_tokens=5).completion_tokens == 5
        assert len(rows) < 200
        list(long)
    assert long.reply == expected


def test_a_cancelled_reply_leaves_the_others_untouched(qwen: SharedQwen) -> None:
    """Whichever of several replies is closed in the middle."""
    shared = fresh(qwen)
    expected = shared.generate("今天是星期三", min_new_tokens=300, max_new_tokens=300).text
    for cancelled in range(3):
        streams = [under_way(shared) for _ in range(3)]
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
    monkeypatch.setattr(scheduler, "MAX_REPLIES", 1)
    shared = fresh(qwen)
    long = under_way(shared)
    waiting = shared.stream(TEXT)
    with passes(shared) as rows, ThreadPoolExecutor(1) as pool:
        read = pool.submit(list, waiting)
        wait_until(lambda: shared.local.scheduler.load.waiting_replies == 1)
        waiting.close()
        assert len(rows) < 200
        assert read.result() == []
    assert shared.local.scheduler.load.waiting_replies == 0
    long.close()


def test_a_reply_that_is_left_without_being_closed_ends(qwen: SharedQwen) -> None:
    """Also one that is collected by the very thread that writes it."""
    shared = fresh(qwen)
    streams = [under_way(shared) for _ in range(3)]
    shared.local.run_alone(streams.clear)
    wait_until(lambda: shared.local.scheduler.load.idle)
    assert shared.generate(TEXT, max_new_tokens=3, min_new_tokens=3).completion_tokens == 3


def test_what_fails_in_one_reply_stays_there(qwen: SharedQwen, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are written to their end."""
    shared = fresh(qwen)
    expected = shared.generate("今天是星期三", min_new_tokens=300, max_new_tokens=300).text
    long = under_way(shared)
    broken = shared.stream(TEXT, max_new_tokens=20, min_new_tokens=20)
    monkeypatch.setattr(broken._generation.sampler, "processors", lambda *_: 1 / 0)
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

    streams = [under_way(shared) for _ in range(2)]
    with passes(shared, fail):
        for stream in streams:
            with pytest.raises(ModelMemoryError, match="precision='int8'"):
                list(stream)
    assert shared.generate(TEXT, max_new_tokens=4, min_new_tokens=4).completion_tokens == 4


def test_no_more_than_some_replies_wait(qwen: SharedQwen, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is refused at once, and those who wait are served."""
    monkeypatch.setattr(scheduler, "MAX_REPLIES", 1)
    monkeypatch.setattr(scheduler, "MAX_WAITING", 2)
    shared = fresh(qwen)
    long = under_way(shared)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(shared.generate, TEXT, max_new_tokens=3) for _ in range(2)]
        wait_until(lambda: shared.local.scheduler.load.waiting_replies == 2)
        with pytest.raises(ModelBusyError, match="2 replies are waiting"):
            shared.generate(TEXT, max_new_tokens=3)
        long.close()
        assert len({each.result() for each in waiting}) == 1


def test_what_an_overflow_leaves_behind_reaches_nobody(qwen: SharedQwen) -> None:
    """A place that held no number before is hidden from the next reply, and clean."""
    shared = fresh(qwen)
    expected = shared.generate(TEXT, max_new_tokens=6, min_new_tokens=6)
    long = under_way(shared, TEXT * 5)
    broken = under_way(shared)

    def overflow() -> None:
        for layer in shared.local.runner._replies._tensors:
            for tensor in layer:
                tensor[1] = float("inf")

    shared.local.run_alone(overflow)
    broken.close()
    assert shared.generate(TEXT, max_new_tokens=6, min_new_tokens=6) == expected
    long.close()


def test_whatever_ends_the_loop_is_told_to_all_and_the_next_reply_works(
    qwen: SharedQwen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for a thread that is gone."""
    shared = fresh(qwen)
    streams = [under_way(shared) for _ in range(2)]

    def fail() -> bool:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(shared.local.scheduler, "step", fail)
        for stream in streams:
            with pytest.raises(ZeroDivisionError):
                list(stream)
    assert shared.generate(TEXT, max_new_tokens=3, min_new_tokens=3).completion_tokens == 3


def test_a_call_that_ends_the_loop_is_told_so_and_the_next_one_works(qwen: SharedQwen) -> None:
    """Whatever it raises reaches whoever waits for it, and nobody waits for ever."""
    shared = fresh(qwen)

    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        shared.local.run_alone(leave)
    assert shared.local.run_alone(lambda: 5) == 5


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
            shared.generate(TEXT, max_new_tokens=3)
    assert shared.generate(TEXT, max_new_tokens=3, min_new_tokens=3).completion_tokens == 3


def test_replies_that_would_need_too_much_memory_together_wait(
    qwen: SharedQwen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many at once as fit, all counted as long as the longest; a single one always may."""
    monkeypatch.setattr(scheduler, "MAX_REPLY_TOKENS", 200)
    shared = fresh(qwen)
    with passes(shared) as rows, ThreadPoolExecutor(3) as pool:
        written = list(pool.map(lambda _: shared.generate(TEXT, max_new_tokens=150, min_new_tokens=150), range(3)))
    assert max(rows) == 1
    assert len(set(written)) == 1


def test_a_reply_that_was_begun_before_everything_was_forgotten_is_not_kept(qwen: SharedQwen) -> None:
    """What it has read may come from other weights."""
    shared = fresh(qwen)
    stream = under_way(shared)
    shared.clear_cache()
    list(stream)
    assert shared.local.prefix_cache.statistics.entries == 0


def test_what_cannot_be_kept_harms_no_reply(qwen: SharedQwen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the one that has ended nor those that go on."""

    def full(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    shared = fresh(qwen)
    long = under_way(shared)
    monkeypatch.setattr(KVRows, "copy_of", full)
    assert shared.generate(TEXT, max_new_tokens=3, min_new_tokens=3).completion_tokens == 3
    list(long)
    assert long.reply.finish_reason == "length"


def test_what_does_not_fit_into_the_cache_is_not_copied(qwen: SharedQwen, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of a long conversation takes as much memory as the conversation."""
    copied = []
    whole = KVRows.copy_of
    monkeypatch.setattr(KVRows, "copy_of", lambda *given: copied.append(given) or whole(*given))
    shared = fresh(qwen)
    shared.generate(TEXT, max_new_tokens=3)
    assert len(copied) == 1
    shared.local.prefix_cache.max_bytes = shared.local.prefix_cache.statistics.bytes - 1
    shared.clear_cache()
    shared.generate(TEXT, max_new_tokens=3)
    assert len(copied) == 1
