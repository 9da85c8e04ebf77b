import math
from itertools import permutations
from types import SimpleNamespace

import pytest
from tiny_qwen import ENGLISH, MOOD, QUESTIONS, TEXT, close, fresh, reordered, rotations

from qwen_allinone.errors import QuestionError
from qwen_allinone.model import Calibration, Capabilities, SharedQwen


def test_the_order_in_which_options_are_given_decides_nothing(any_qwen):
    """Every permutation of the options gives the same probabilities, in the order of the caller."""
    expected = any_qwen.decide(TEXT, {"mood": MOOD})["mood"].probabilities
    for labels in permutations(MOOD.criteria):
        decision = any_qwen.decide(TEXT, {"mood": reordered(MOOD, labels)})["mood"]
        assert close(decision.probabilities, {label: expected[label] for label in labels})
        logs = any_qwen.loglikelihoods(TEXT, {"mood": reordered(MOOD, labels)})["mood"]
        assert logs == pytest.approx(any_qwen.loglikelihoods(TEXT, {"mood": MOOD})["mood"], abs=1e-4)


def test_options_can_be_listed_as_given(any_qwen):
    """The other order is on request, and then it matters; averaged over all rotations, it no longer does."""
    orders = rotations(list(MOOD.criteria))

    def probabilities(calibration):
        asked = [{"mood": reordered(MOOD, order)} for order in orders]
        found = [any_qwen.decide(TEXT, each, calibration=calibration)["mood"].probabilities for each in asked]
        return [{label: each[label] for label in MOOD.criteria} for each in found]

    as_given = probabilities(Calibration(order="given"))
    assert not any(close(each, as_given[0]) for each in as_given[1:])
    averaged = probabilities(Calibration(order="given", permutations=3))
    assert all(close(each, averaged[0]) for each in averaged)


def test_permutations_are_an_average_of_probabilities(any_qwen):
    """Two permutations are the mean of the list as given and the list rotated by one."""
    labels, given = list(MOOD.criteria), Calibration(order="given")
    singles = [
        any_qwen.decide(TEXT, {"mood": reordered(MOOD, order)}, calibration=given)["mood"].probabilities
        for order in rotations(labels)[:2]
    ]
    both = any_qwen.decide(TEXT, {"mood": MOOD}, calibration=Calibration(order="given", permutations=2))["mood"]
    assert close(both.probabilities, {label: sum(single[label] for single in singles) / 2 for label in labels})


def test_more_permutations_than_options_are_all_of_them(any_qwen):
    """Asking for more rotations than there are is the full set."""
    full = any_qwen.decide(TEXT, QUESTIONS, calibration=Calibration(permutations=3))
    more = any_qwen.decide(TEXT, QUESTIONS, calibration=Calibration(permutations=50))
    assert all(close(more[name].probabilities, full[name].probabilities) for name in QUESTIONS)


def test_the_prior_divides_by_the_content_free_probabilities(any_qwen):
    """With the prior, probabilities are divided by those for a text that says nothing, and normalised."""
    plain = any_qwen.decide(ENGLISH, QUESTIONS)
    empty = any_qwen.decide("N/A", QUESTIONS)
    corrected = any_qwen.decide(ENGLISH, QUESTIONS, calibration=Calibration(prior=True))
    for name, decision in corrected.items():
        ratios = {
            option: probability / empty[name].probabilities[option]
            for option, probability in plain[name].probabilities.items()
        }
        total = sum(ratios.values())
        assert close(decision.probabilities, {option: ratio / total for option, ratio in ratios.items()})


def test_a_content_free_text_with_the_prior_is_undecided(any_qwen):
    """With the prior no option of any question is preferred for a text that says nothing."""
    for decision in any_qwen.decide("N/A", QUESTIONS, calibration=Calibration(prior=True)).values():
        assert close(decision.probabilities, dict.fromkeys(decision.probabilities, 1 / len(decision.probabilities)))


def test_the_same_question_twice_has_one_prior(qwen):
    """Two names for one question, its options in another order, are answered alike."""
    asked = {"one": MOOD, "two": reordered(MOOD, list(MOOD.criteria)[::-1])}
    one, two = fresh(qwen).decide(TEXT, asked, calibration=Calibration(prior=True)).values()
    assert dict(one.probabilities) == pytest.approx(dict(two.probabilities), abs=1e-4)


def test_the_prior_is_read_once_per_question(qwen):
    """The second decision with the same question reads the content-free text no more."""
    shared = fresh(qwen)
    passes = []
    hook = shared.local.model.base_model.register_forward_pre_hook(lambda *_: passes.append(1))
    try:
        for text in ("one two", "three four"):
            shared.decide(text, {"spam": QUESTIONS["spam"]}, calibration=Calibration(prior=True))
            passes.append(0)
    finally:
        hook.remove()
    first, second = passes[: passes.index(0)], passes[passes.index(0) + 1 : -1]
    assert (len(first), len(second)) == (4, 2)


def test_the_likelihood_can_be_taken_per_token(any_qwen):
    """Log-likelihoods are divided by the number of tokens, the closing one counted, before they are compared."""
    whole = any_qwen.loglikelihoods(TEXT, {"mood": MOOD})["mood"]
    means = {option: whole[option] / (len(any_qwen.chat.encode(option)) + 1) for option in MOOD.criteria}
    weights = {option: math.exp(mean) for option, mean in means.items()}
    expected = {option: weight / sum(weights.values()) for option, weight in weights.items()}
    decision = any_qwen.decide(TEXT, {"mood": MOOD}, calibration=Calibration(length_normalized=True))["mood"]
    assert close(decision.probabilities, expected)
    plain = any_qwen.decide(TEXT, {"mood": MOOD})["mood"]
    assert not close(decision.probabilities, plain.probabilities)


def test_a_prior_per_token_leaves_a_content_free_text_undecided(any_qwen):
    """The prior is corrected like what it divides, also after the same question was asked without."""
    any_qwen.decide(TEXT, QUESTIONS, calibration=Calibration(prior=True))
    both = Calibration(prior=True, length_normalized=True)
    for decision in any_qwen.decide("N/A", QUESTIONS, calibration=both).values():
        assert close(decision.probabilities, dict.fromkeys(decision.probabilities, 1 / len(decision.probabilities)))


def test_a_model_declares_its_own_corrections(qwen):
    """What ``capabilities.json`` says holds unless the caller gives a calibration."""
    declared = SharedQwen.from_model(
        qwen.local.model, qwen.local.tokenizer, capabilities=Capabilities(prior=True, length_normalized=True)
    )
    assert declared.calibration == Calibration(prior=True, length_normalized=True)
    expected = qwen.decide(TEXT, QUESTIONS, calibration=declared.calibration)
    assert all(
        close(found.probabilities, expected[name].probabilities)
        for name, found in declared.decide(TEXT, QUESTIONS).items()
    )
    plain = declared.decide(TEXT, QUESTIONS, calibration=Calibration())
    assert all(
        close(found.probabilities, plain[name].probabilities) for name, found in qwen.decide(TEXT, QUESTIONS).items()
    )


def test_temperature_divides_the_log_likelihoods(any_qwen):
    """Twice the temperature halves every distance between log probabilities: the distribution is flatter."""
    plain = any_qwen.decide(TEXT, QUESTIONS)["mood"].probabilities
    flat = any_qwen.decide(TEXT, QUESTIONS, calibration=Calibration(temperature=2.0))["mood"].probabilities
    roots = {option: math.sqrt(probability) for option, probability in plain.items()}
    assert close(flat, {option: root / sum(roots.values()) for option, root in roots.items()})
    assert max(flat.values()) < max(plain.values())


def test_an_unknown_order_is_refused():
    """The orders that there are stand in the message."""
    with pytest.raises(QuestionError, match="'reversed'; allowed: sorted, given"):
        Calibration(order="reversed")


def test_a_choice_without_options_is_refused(qwen):
    """No order is no reason for another error than the usual one."""
    question = SimpleNamespace(type="choice", instructions="Mood?", criteria={})
    with pytest.raises(QuestionError, match="options must be present"):
        qwen.loglikelihoods(TEXT, {"mood": question})


@pytest.mark.parametrize(
    "options", [{"permutations": 0}, {"temperature": 0.0}, {"temperature": -1.0}, {"temperature": math.nan}]
)
def test_corrections_that_make_no_sense_are_refused(options):
    """No permutation and a temperature that is not positive are refused."""
    with pytest.raises(QuestionError, match="permutations must be at least 1 and the temperature positive"):
        Calibration(**options)
