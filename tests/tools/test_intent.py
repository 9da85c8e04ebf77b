import pytest
from tiny_qwen import CONTROL_TOKENS

from qwen_allinone.errors import QuestionError
from qwen_allinone.model import Threshold
from qwen_allinone.tools import IntentTool

TEXT = "把明早的闹钟改到七点半"
ENGLISH = "Move my alarm to half past seven"
LABELS = ["闹钟", "天气", "订票"]


def test_the_candidates_are_the_callers(extracting):
    """Every candidate has a probability, the best one is the label."""
    intent = IntentTool(qwen=extracting).invoke({"text": TEXT, "candidates": LABELS})
    assert list(intent.probabilities) == LABELS
    assert sum(intent.probabilities.values()) == pytest.approx(1)
    assert intent.probability == intent.probabilities[intent.label] == max(intent.probabilities.values())
    assert intent.accepted
    assert intent.label in str(intent)


def test_descriptions_take_part(extracting):
    """What a label is said to mean changes what is asked."""
    tool = IntentTool(qwen=extracting)
    bare = tool.invoke({"text": TEXT, "candidates": LABELS})
    described = {"闹钟": "设置、修改、取消闹钟", "天气": None, "订票": "火车票、机票"}
    intent = tool.invoke({"text": TEXT, "candidates": described})
    assert list(intent.probabilities) == LABELS
    assert intent.probabilities != pytest.approx(bare.probabilities, abs=1e-9)


@pytest.mark.parametrize(("text", "label"), [(TEXT, "预订"), (ENGLISH, "book")])
def test_everyday_services_stand_in_for_missing_candidates(extracting, text, label):
    """Without candidates the tool's own list is used, in the language of the text."""
    intent = IntentTool(qwen=extracting).invoke(text)
    assert label in intent.probabilities
    assert len(intent.probabilities) == 10


@pytest.mark.parametrize("own", [LABELS, dict.fromkeys(LABELS)], ids=["list", "mapping"])
def test_a_tool_can_have_a_list_of_its_own(extracting, own):
    """It holds for every call that brings no candidates."""
    tool = IntentTool(qwen=extracting, candidates=own)
    assert list(tool.invoke(TEXT).probabilities) == LABELS
    assert list(tool.invoke({"text": TEXT, "candidates": ["开", "关"]}).probabilities) == ["开", "关"]


@pytest.mark.parametrize(
    "candidates", [[], {}, ["闹钟", "闹钟"], ["闹钟", " 闹钟"], [""], ["闹钟", " "], {"": "什么都不是"}]
)
def test_candidates_that_cannot_be_told_apart_are_refused(extracting, candidates):
    """None, twice the same, and blank ones are errors."""
    with pytest.raises(QuestionError):
        IntentTool(qwen=extracting).invoke({"text": TEXT, "candidates": candidates})


def test_a_single_candidate_is_certain(extracting):
    """Where there is nothing to choose, the probability is one."""
    intent = IntentTool(qwen=extracting).invoke({"text": TEXT, "candidates": ["闹钟"]})
    assert (intent.label, intent.probability, intent.accepted) == ("闹钟", pytest.approx(1), True)


@pytest.mark.parametrize("bounds", [Threshold(probability=1.0, margin=1.0), Threshold(margin=1.0)])
def test_a_candidate_below_the_bounds_is_not_accepted(extracting, bounds):
    """The label still tells what was likeliest."""
    intent = IntentTool(qwen=extracting, threshold=bounds).invoke({"text": TEXT, "candidates": LABELS})
    assert not intent.accepted
    assert intent.label == IntentTool(qwen=extracting).invoke({"text": TEXT, "candidates": LABELS}).label


def test_control_tokens_in_labels_are_plain_characters(extracting):
    """Labels come back as they were given, each scored as the words that it is made of."""
    labels = [f"标签{token}" for token in CONTROL_TOKENS]
    intent = IntentTool(qwen=extracting).invoke({"text": TEXT, "candidates": labels})
    assert list(intent.probabilities) == labels
    assert sum(intent.probabilities.values()) == pytest.approx(1)
    assert len({round(value, 12) for value in intent.probabilities.values()}) > 1
