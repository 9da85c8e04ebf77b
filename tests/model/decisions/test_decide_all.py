"""Many texts at once: each gets what it would get alone."""

import random
from collections.abc import Iterator

import pytest
from tiny_qwen import QUESTIONS, SENTENCES, fresh, laid_out

from qwen_allinone.errors import EmptyTextError, ModelMemoryError, QuestionError, TextTooLongError
from qwen_allinone.model import Calibration, Threshold

TEXTS = [f"{sentence}{number}" for number in range(3) for sentence in SENTENCES]


def asked(texts) -> Iterator[tuple]:
    """Every text with the same questions."""
    return ((text, QUESTIONS) for text in texts)


def same(one, other) -> bool:
    """Whether two sets of decisions agree but for rounding."""
    return one.keys() == other.keys() and all(
        one[name].probabilities == pytest.approx(other[name].probabilities, abs=1e-4)
        and one[name].accepted == other[name].accepted
        for name in one
    )


@pytest.mark.parametrize("layout", ["text_first", "instruction_first"])
@pytest.mark.parametrize("batch_tokens", [1, 600, 10_000])
def test_each_text_gets_what_it_gets_alone(any_qwen, layout, batch_tokens):
    """In the order of the texts, however many share a pass, with all corrections and bounds."""
    options = {
        "layout": layout,
        "calibration": Calibration(prior=True, length_normalized=True, permutations=2, temperature=2.0),
        "threshold": Threshold(probability=0.5),
    }
    alone = [fresh(any_qwen).decide(text, QUESTIONS, **options) for text in TEXTS]
    together = list(fresh(any_qwen, max_batch_tokens=batch_tokens).decide_all(asked(TEXTS), **options))
    assert len(together) == len(TEXTS)
    assert all(map(same, alone, together))


def test_the_order_of_the_texts_changes_nothing(qwen):
    """Shuffled, each text still gets its own decisions."""
    order = random.Random(0).sample(range(len(TEXTS)), len(TEXTS))
    straight = list(qwen.decide_all(asked(TEXTS)))
    shuffled = list(qwen.decide_all(asked(TEXTS[index] for index in order)))
    assert all(same(straight[index], decisions) for index, decisions in zip(order, shuffled, strict=True))


def test_a_text_that_cannot_be_decided_leaves_the_others_alone(qwen):
    """Its error stands in its place."""
    texts = [
        (TEXTS[0], QUESTIONS),
        ("  ", QUESTIONS),
        ("很长" * 2000, QUESTIONS),
        (TEXTS[1], {}),
        (TEXTS[2], QUESTIONS),
    ]
    first, blank, long, unasked, last = qwen.decide_all(texts, return_exceptions=True)
    assert [type(blank), type(long), type(unasked)] == [EmptyTextError, TextTooLongError, QuestionError]
    assert same(first, qwen.decide(TEXTS[0], QUESTIONS))
    assert same(last, qwen.decide(TEXTS[2], QUESTIONS))


def test_the_first_error_is_raised_unless_it_is_asked_for(qwen):
    """The decisions before it are given."""
    decisions = qwen.decide_all([(TEXTS[0], QUESTIONS), ("  ", QUESTIONS), (TEXTS[1], QUESTIONS)])
    assert same(next(decisions), qwen.decide(TEXTS[0], QUESTIONS))
    with pytest.raises(EmptyTextError):
        next(decisions)


def test_an_unknown_argument_is_an_error_at_once(qwen):
    """Before the first text is read."""
    with pytest.raises(TypeError, match="batch_tokens"):
        qwen.decide_all(asked(TEXTS), batch_tokens=3)


def test_texts_are_read_as_they_are_needed(qwen):
    """A stream without end is no problem: the first decisions come before it is read through."""

    def endless() -> Iterator[tuple]:
        while True:
            yield from asked(TEXTS)

    decisions = qwen.decide_all(endless())
    assert same(next(decisions), qwen.decide(TEXTS[0], QUESTIONS))
    decisions.close()


def test_a_pass_keeps_to_its_tokens(qwen, monkeypatch):
    """Padding included; a text that has more goes alone."""
    shared, sizes = fresh(qwen, max_batch_tokens=1000), []
    score = shared.local.runner.score

    def counted(prompts, **options):
        sizes.append([each.size for each in prompts])
        return score(prompts, **options)

    monkeypatch.setattr(shared.local.runner, "score", counted)
    list(shared.decide_all(asked(TEXTS)))
    assert max(map(len, sizes)) > 1
    assert all(len(each) * max(each) <= 1000 or len(each) == 1 for each in sizes)


def test_no_memory_for_many_texts_is_no_error_for_one(qwen, monkeypatch):
    """A pass that does not fit is taken apart, and an error is yielded only for a text that does not fit alone."""
    shared = fresh(qwen)
    expected = [fresh(qwen).decide(text, QUESTIONS) for text in TEXTS]
    whole = shared.local.runner.score
    tokens = [len(shared.chat.turns(laid_out(text))) for text in TEXTS]

    def score(prompts, **options):
        if len(prompts) > 1 or len(prompts[0].prefix) == max(tokens):
            raise ModelMemoryError("no room")
        return whole(prompts, **options)

    monkeypatch.setattr(shared.local.runner, "score", score)
    decided = shared.decide_all(asked(TEXTS), return_exceptions=True)
    for count, found, wanted in zip(tokens, decided, expected, strict=True):
        assert isinstance(found, ModelMemoryError) if count == max(tokens) else same(found, wanted)
