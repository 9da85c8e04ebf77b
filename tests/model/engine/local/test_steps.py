"""The loop, step by step, with no thread but the test's own."""

from collections.abc import Sequence
from typing import Any

import pytest
from many_threads import TEXTS, passes
from tiny_qwen import MOOD, fresh, laid_out

from qwen_allinone.errors import TextTooLongError
from qwen_allinone.model import LocalEngine, SharedQwen
from qwen_allinone.model.decisions.questions import render_question
from qwen_allinone.model.engine.base import ReadRequest, ScoreRequest


@pytest.fixture
def stepped(qwen: SharedQwen) -> SharedQwen:
    """A model that computes nothing but what ``step`` runs."""
    return fresh(qwen, threaded=False)


def requests(texts: Sequence[str], **options: Any) -> list[ScoreRequest]:
    """The mood of each text."""
    question = render_question(MOOD, "zh")
    return [ScoreRequest(laid_out(text), {"mood": question}, "zh", **options) for text in texts]


def done(pending: Sequence[Any]) -> list[bool]:
    """Tell which requests have their result."""
    return [each.jobs[0].future.done() for each in pending]


def steps(engine: LocalEngine) -> int:
    """Run the loop until there is nothing to do, and count."""
    count = 0
    while engine.scheduler.step():
        count += 1
    return count


def test_nothing_runs_before_a_step(stepped: SharedQwen) -> None:
    """Requests wait in the queue, and one step answers those that share a pass."""
    pending = stepped.engine.score(requests(TEXTS[:3]))
    assert done(pending) == [False] * 3
    assert stepped.local.scheduler.load.jobs == 3
    assert stepped.local.scheduler.step()
    assert done(pending) == [True] * 3
    assert not stepped.local.scheduler.step()


def test_many_texts_do_not_hold_up_a_single_one(stepped: SharedQwen) -> None:
    """A decision that comes behind them is made in the second pass at the latest."""
    engine = stepped.local
    engine.scheduler.max_batch_tokens = 1
    many = engine.score(requests(TEXTS, cache_prefix=False))
    (single,) = engine.score(requests(["只有一条"]))
    engine.scheduler.step()
    engine.scheduler.step()
    assert done([single]) == [True]
    assert sum(done(many)) == 1
    assert steps(engine) == len(TEXTS) - 1
    assert all(done(many))


def test_a_request_that_is_cancelled_in_time_is_never_run(stepped: SharedQwen) -> None:
    """The others of its pass are."""
    first, second = stepped.engine.score(requests(TEXTS[:2]))
    assert first.cancel()
    with passes(stepped) as rows:
        assert steps(stepped.local) == 1
    assert set(rows) == {1}
    assert second.result()["mood"].keys() == MOOD.criteria.keys()


def test_a_request_that_cannot_be_laid_out_fails_alone(stepped: SharedQwen) -> None:
    """Its error is its own result."""
    long, short = stepped.engine.score(requests(["很长" * 2000, TEXTS[0]]))
    steps(stepped.local)
    with pytest.raises(TextTooLongError):
        long.result()
    assert short.result()["mood"].keys() == MOOD.criteria.keys()


def test_texts_of_two_languages_do_not_share_a_pass_of_many(stepped: SharedQwen) -> None:
    """Each pass of very many texts goes on from the persona that all of its texts begin with."""
    engine = stepped.local
    engine.score(requests([TEXTS[0], TEXTS[1], TEXTS[4], TEXTS[3]], cache_prefix=False))
    with passes(stepped) as rows:
        assert steps(engine) == 2
    assert [count for count in rows if count > 1] == [2, 2]


def test_calls_take_their_turn_between_passes(stepped: SharedQwen) -> None:
    """Something that needs the model for itself waits for one pass, not for all."""
    engine = stepped.local
    engine.scheduler.max_batch_tokens = 1
    engine.score(requests(TEXTS[:3]))
    called = engine.scheduler.call(lambda: "called")
    failed = engine.scheduler.call(lambda: 1 // 0)
    steps_until_called = 0
    while not called.done():
        engine.scheduler.step()
        steps_until_called += 1
    assert steps_until_called <= 2
    assert called.result() == "called"
    steps(engine)
    with pytest.raises(ZeroDivisionError):
        failed.result()


def test_reads_and_scores_take_turns_in_the_order_in_which_they_came(stepped: SharedQwen) -> None:
    """A text that was read is scored from its KV cache."""
    engine = stepped.local
    (features,) = engine.read([ReadRequest(laid_out(TEXTS[0]), layers=(1,))])
    (scores,) = engine.score(requests(TEXTS[:1]))
    with passes(stepped) as rows:
        assert steps(engine) == 2
    assert features.result()[1].mean.shape == (48,)
    assert scores.result()["mood"].keys() == MOOD.criteria.keys()
    assert len(rows) <= 3
