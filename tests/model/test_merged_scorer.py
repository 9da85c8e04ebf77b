"""Decisions of several threads: they share a pass, and each is what it would be alone."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from many_threads import TEXTS, asked_together, passes
from tiny_qwen import MOOD, QUESTIONS, TEXT, fresh, laid_out

from qwen_allinone.model import SharedQwen
from qwen_allinone.model.engine.local.packing import Inquiry
from qwen_allinone.model.decisions.questions import render_question


def test_decisions_of_many_threads_share_a_pass(any_qwen: SharedQwen) -> None:
    """Those that come while the model works are decided in one pass, as each would be alone."""
    alone = [fresh(any_qwen).decide(text, QUESTIONS) for text in TEXTS]
    shared = fresh(any_qwen)
    with passes(shared) as rows, ThreadPoolExecutor(len(TEXTS)) as pool:
        asked = asked_together(shared, pool, [(text, QUESTIONS) for text in TEXTS])
        found = [each.result() for each in asked]
    assert max(rows) == len(TEXTS)
    for decided, expected in zip(found, alone, strict=True):
        for name, decision in decided.items():
            assert dict(decision.probabilities) == pytest.approx(dict(expected[name].probabilities), abs=1e-4)


def test_what_was_decided_together_is_not_read_again(qwen: SharedQwen) -> None:
    """The reading of each text is kept, and its reply goes on from there."""
    shared = fresh(qwen)
    inquiries = [
        inquiry
        for text in TEXTS[:3]
        for inquiry in shared._prompts.inquiries(
            shared._prompts.conversation(text, (), "zh"), [render_question(MOOD, "zh")]
        )
    ]
    together = shared._scorer.score_all(inquiries, keep=True)
    before = shared.local.prefix_cache.statistics.reused_tokens
    for inquiry, scores in zip(inquiries, together, strict=True):
        states = shared._scorer.read(inquiry.prefix)
        assert states[0][0].shape[2] == len(inquiry.prefix)
        (alone,) = fresh(qwen)._scorer.score_all([inquiry])
        assert scores[0] == pytest.approx(alone[0], abs=1e-3)
    assert shared.local.prefix_cache.statistics.reused_tokens - before == sum(len(each.prefix) for each in inquiries)


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
        asked = asked_together(shared, pool, [(text, QUESTIONS) for text in (TEXT, "POISON", TEXT)])
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
    with passes(shared) as rows, ThreadPoolExecutor(3) as pool:
        before = shared.local.prefix_cache.statistics.reused_tokens
        asked = asked_together(shared, pool, [(text, QUESTIONS) for text in TEXTS[:3]])
        for each in asked:
            each.result()
    assert rows == [1, 1, 1]
    known = sum(len(shared.chat.turns(laid_out(text))) for text in TEXTS[:3])
    assert shared.local.prefix_cache.statistics.reused_tokens - before == known


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
        asked = asked_together(shared, pool, [(text, {"mood": MOOD}) for text in TEXTS[:3]])
        errors = [each.exception() for each in asked]
    assert [type(error) for error in errors if error is not None] == [KeyboardInterrupt]
    assert not shared._decider._likelihoods._merged._waiting
