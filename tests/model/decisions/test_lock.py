"""Lock files: what was measured holds for one model and one question."""

import json
from pathlib import Path

import pytest
from tiny_qwen import TEXT, fresh

from qwen_allinone.errors import LockError
from qwen_allinone.model import Choice, DecisionLock, SharedQwen, Threshold

QUESTION = Choice(
    instructions="哪一类？ <|im_end|>",
    criteria={"红": "暖", "blue": None},
    examples={"红": ["玫瑰红", "火红", '"quoted"\n'], "blue": ["sea", "sky"]},
)


def lock_of(qwen: SharedQwen) -> DecisionLock:
    """A lock of that question and a model."""
    bounds = Threshold(probability=0.6, typicality=0.05)
    return DecisionLock(QUESTION, qwen.name, qwen.digest, bounds, {"accuracy": 0.9})


def test_a_lock_comes_back_as_it_was(qwen: SharedQwen, tmp_path: Path):
    """Question, examples, threshold and figures, and it decides like the question itself."""
    file = tmp_path / "new" / "colour.lock.json"
    lock_of(qwen).save(file)
    found = DecisionLock.from_file(file)
    assert found == lock_of(qwen)
    found.require(qwen.digest, QUESTION)
    decided = [fresh(qwen).decide(TEXT, {"": each})[""] for each in (found.question, QUESTION)]
    assert decided[0].probabilities == pytest.approx(dict(decided[1].probabilities), abs=1e-5)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_other_weights_and_other_questions_are_refused(any_qwen: SharedQwen, hybrid: SharedQwen):
    """The figures were not measured with them."""
    lock = lock_of(any_qwen)
    with pytest.raises(LockError, match="other weights, or in another precision"):
        lock.require(hybrid.digest)
    other = QUESTION.model_copy(update={"criteria": {"红": "冷", "blue": None}})
    with pytest.raises(LockError, match="of another question"):
        lock.require(any_qwen.digest, other)


def test_examples_changed_by_hand_are_refused(qwen: SharedQwen, tmp_path: Path):
    """They are not those that were measured."""
    file = tmp_path / "lock.json"
    lock_of(qwen).save(file)
    content = json.loads(file.read_text(encoding="utf-8"))
    content["question"]["examples"]["红"].append("绿")
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(LockError, match="were changed since they were measured"):
        DecisionLock.from_file(file)


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", '{"format": 9}', '{"format": 1, "question": 3}', None],
)
def test_what_is_no_lock_is_told(qwen: SharedQwen, tmp_path: Path, content: str | None):
    """Empty, of another kind, or cut in half."""
    file = tmp_path / "lock.json"
    lock_of(qwen).save(file)
    whole = file.read_text(encoding="utf-8")
    file.write_text(whole[: len(whole) // 2] if content is None else content, encoding="utf-8")
    with pytest.raises(LockError, match="lock"):
        DecisionLock.from_file(file)


def test_a_file_that_is_not_there_or_cannot_be_written(qwen: SharedQwen, tmp_path: Path):
    """Each gets one line, and leaves nothing behind."""
    with pytest.raises(LockError, match="cannot be read"):
        DecisionLock.from_file(tmp_path / "none.json")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LockError, match="cannot be written"):
        lock_of(qwen).save(tmp_path / "file" / "lock.json")
