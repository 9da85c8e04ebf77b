import pytest

from qwen_allinone.errors import QuestionError
from qwen_allinone.model import Decision, Threshold


def test_the_most_probable_option_is_chosen():
    """The option, its probability and its distance to the second are those of the best."""
    decision = Decision.from_probabilities({"a": 0.2, "b": 0.7, "c": 0.1})
    assert (decision.option, decision.probability) == ("b", 0.7)
    assert decision.margin == pytest.approx(0.5)
    assert decision.accepted


def test_ties_go_to_the_option_listed_first():
    """Equal probabilities: the first of the question's own order, with no margin."""
    decision = Decision.from_probabilities({"z": 0.1, "b": 0.45, "a": 0.45})
    assert (decision.option, decision.margin) == ("b", 0.0)


def test_a_single_option_has_no_margin():
    """What was not compared is None and not a made-up number."""
    assert Decision.from_probabilities({"a": 1.0}).margin is None


@pytest.mark.parametrize(
    ("bounds", "accepted"),
    [
        (None, True),
        (Threshold(), True),
        (Threshold(probability=0.6), True),
        (Threshold(probability=0.61), False),
        (Threshold(margin=0.25), True),
        (Threshold(margin=0.35), False),
        (Threshold(probability=0.5, margin=0.35), False),
    ],
)
def test_below_either_bound_it_abstains(bounds, accepted):
    """A decision must reach both bounds; an abstaining one still names its best option."""
    decision = Decision.from_probabilities({"a": 0.6, "b": 0.3, "c": 0.1}, bounds)
    assert decision.accepted is accepted
    assert decision.option == "a"


def test_the_level_is_the_expected_one():
    """Levels are averaged by their probabilities."""
    assert Decision.from_probabilities({"0": 0.5, "1": 0.0, "2": 0.5}).level == pytest.approx(1.0)


def test_labels_have_no_level():
    """The level of something that is no score is an error."""
    with pytest.raises(ValueError, match="invalid literal"):
        _ = Decision.from_probabilities({"good": 1.0}).level


def test_a_decision_keeps_its_own_probabilities():
    """A decision does not change with the mapping it was made from."""
    given = {"a": 0.6, "b": 0.4}
    decision = Decision.from_probabilities(given)
    given["a"] = 0.0
    assert decision.probabilities["a"] == 0.6


def test_a_decision_can_be_copied_and_stored():
    """Decisions travel between processes and into records."""
    import copy
    import dataclasses
    import pickle

    decision = Decision.from_probabilities({"a": 0.75, "b": 0.25})
    assert copy.deepcopy(decision) == pickle.loads(pickle.dumps(decision)) == decision
    assert dataclasses.asdict(decision)["probabilities"] == {"a": 0.75, "b": 0.25}


@pytest.mark.parametrize(
    ("bounds", "typicality", "state"),
    [
        (Threshold(), 0.0, "accepted"),
        (Threshold(typicality=0.1), 0.1, "accepted"),
        (Threshold(typicality=0.1), 0.05, "out_of_scope"),
        (Threshold(typicality=0.1), None, "accepted"),
        (Threshold(probability=0.9), 0.5, "ambiguous"),
        (Threshold(probability=0.9, typicality=0.1), 0.05, "out_of_scope"),
    ],
)
def test_what_is_unlike_all_examples_is_out_of_scope(bounds, typicality, state):
    """Whatever its probabilities; a decision that learned from none cannot tell."""
    decision = Decision.from_probabilities({"a": 0.6, "b": 0.4}, bounds, typicality=typicality)
    assert decision.state == state
    assert decision.accepted is (state == "accepted")
    assert decision.apply_threshold(Threshold()).state == "accepted"


@pytest.mark.parametrize("bounds", [{"probability": 60}, {"margin": -0.1}, {"typicality": 1.5}])
def test_bounds_that_are_no_shares_are_refused(bounds):
    """Per cents, for instance."""
    with pytest.raises(QuestionError, match="must lie between 0 and 1"):
        Threshold(**bounds)
