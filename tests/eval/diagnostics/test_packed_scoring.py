import copy

import pytest
import torch
from known_model import tasks

from qwen_allinone.errors import RunError
from qwen_allinone.eval.diagnostics.packed_scoring import TEXTS_PER_TASK, ScoredTwice, check_packed_scoring
from qwen_allinone.model import SharedQwen
from qwen_allinone.model.engine.local.packing import PackedBatch


def test_packed_and_single_scores_agree(any_qwen):
    """On every architecture the two ways differ by rounding alone, and no decision changes."""
    found = check_packed_scoring(any_qwen, tasks())
    assert found.packed and found.texts == 2 * TEXTS_PER_TASK and len(found.questions) == 3 * found.texts
    assert found.agree and found.agreeing == len(found.questions)
    assert 0 < found.largest_difference < 1e-3


def test_a_wrong_packing_is_found(qwen, monkeypatch):
    """Positions that run on instead of being restarted show as a difference."""

    def run_on(self, past):
        return torch.arange(past, past + self.width).repeat(len(self.rows), 1)

    monkeypatch.setattr(PackedBatch, "positions", run_on)
    assert check_packed_scoring(qwen, tasks()).largest_difference > 0.1


def test_a_decision_that_depends_on_the_way_is_counted():
    """Agreement is about the best option; the difference about all of them."""
    same = ScoredTwice({"a": -1.0, "b": -2.0}, {"a": -1.5, "b": -2.0})
    other = ScoredTwice({"a": -1.0, "b": -2.0}, {"a": -2.25, "b": -2.0})
    assert (same.agrees, same.largest_difference) == (True, 0.5)
    assert (other.agrees, other.largest_difference) == (False, 1.25)


def test_scores_that_are_no_numbers_are_an_error(models, tokenizer):
    """A model whose likelihoods are not finite is not said to agree."""
    broken = copy.deepcopy(models["qwen2"])
    broken.model.norm.weight.data.fill_(float("nan"))
    with pytest.raises(RunError, match="not finite"):
        check_packed_scoring(SharedQwen.from_model(broken, tokenizer), tasks())
