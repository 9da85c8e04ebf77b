import copy

import pytest
import torch

from qwen_allinone.doctor.packed_scoring import packed_scoring
from qwen_allinone.errors import RunError
from qwen_allinone.model import SharedQwen
from qwen_allinone.model.engine.local.packing import PackedBatch


def test_packed_and_single_scores_agree(any_qwen):
    """On every architecture the two ways differ by rounding alone, and no decision changes."""
    found = packed_scoring(any_qwen)
    assert found["packed"] and found["agree"] and found["agreeing"] == found["decisions"] == 20
    assert 0 < found["largest_difference"] < 1e-3


def test_a_wrong_packing_is_found(qwen, monkeypatch):
    """Positions that run on instead of being restarted show as a difference."""

    def run_on(self, past):
        return torch.arange(past, past + self.width).repeat(len(self.rows), 1)

    monkeypatch.setattr(PackedBatch, "positions", run_on)
    assert packed_scoring(qwen)["largest_difference"] > 0.1


def test_scores_that_are_no_numbers_are_an_error(models, tokenizer):
    """A model whose likelihoods are not finite is not said to agree."""
    broken = copy.deepcopy(models["qwen2"])
    broken.model.norm.weight.data.fill_(float("nan"))
    with pytest.raises(RunError, match="not finite"):
        packed_scoring(SharedQwen.from_model(broken, tokenizer))
