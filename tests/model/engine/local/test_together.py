"""Decisions of several threads: they share a pass, and each is what it would be alone."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from many_threads import TEXTS, asked_together, passes
from tiny_qwen import MOOD, QUESTIONS, TEXT, fresh, laid_out

from qwen_allinone.model import SharedQwen
from qwen_allinone.model.engine.local.packing import BranchedPrompt


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
    """The KV cache of each text is kept, and its reply goes on from there."""
    alone = [fresh(qwen).generate(text, max_new_tokens=6, min_new_tokens=6) for text in TEXTS[:3]]
    shared = fresh(qwen)
    with ThreadPoolExecutor(3) as pool:
        for each in asked_together(shared, pool, [(text, {"mood": MOOD}) for text in TEXTS[:3]]):
            each.result()
    before = shared.local.prefix_cache.statistics.reused_tokens
    assert [shared.generate(text, max_new_tokens=6, min_new_tokens=6) for text in TEXTS[:3]] == alone
    read = sum(len(shared.chat.turns(laid_out(text))) for text in TEXTS[:3])
    assert shared.local.prefix_cache.statistics.reused_tokens - before == read


def test_an_error_in_one_decision_leaves_those_of_its_pass_untouched(
    qwen: SharedQwen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass that fails is taken apart."""
    shared = fresh(qwen)
    expected = shared.decide(TEXT, QUESTIONS)
    shared.clear_cache()
    whole = shared.local.runner.score
    poison = tuple(shared.chat.encode("POISON"))

    def score(prompts: list[BranchedPrompt], **options: Any) -> Any:
        for each in prompts:
            if any(poison == each.prefix[at : at + len(poison)] for at in range(len(each.prefix))):
                raise ZeroDivisionError
        return whole(prompts, **options)

    monkeypatch.setattr(shared.local.runner, "score", score)
    with ThreadPoolExecutor(3) as pool:
        first, second, third = asked_together(
            shared, pool, [("POISON" if number == 1 else TEXT, QUESTIONS) for number in range(3)]
        )
        for good in (first, third):
            for name, decision in good.result().items():
                assert dict(decision.probabilities) == pytest.approx(dict(expected[name].probabilities), abs=1e-4)
        with pytest.raises(ZeroDivisionError):
            second.result()


def test_texts_that_were_read_before_are_not_read_again_together(qwen: SharedQwen) -> None:
    """Waiting threads that ask about known texts go on from the KV cache that is there."""
    shared = fresh(qwen)
    for text in TEXTS[:3]:
        shared.decide(text, {"mood": MOOD})
    with passes(shared) as rows, ThreadPoolExecutor(3) as pool:
        before = shared.local.prefix_cache.statistics.reused_tokens
        for each in asked_together(shared, pool, [(text, QUESTIONS) for text in TEXTS[:3]]):
            each.result()
    assert rows == [1, 1, 1]
    known = sum(len(shared.chat.turns(laid_out(text))) for text in TEXTS[:3])
    assert shared.local.prefix_cache.statistics.reused_tokens - before == known
