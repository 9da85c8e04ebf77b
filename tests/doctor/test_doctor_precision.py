import copy

import pytest
import torch
from known_model import KnownModel, first_listed, right

from qwen_allinone.doctor.precision import agreement, int8_copy, precision
from qwen_allinone.doctor.survey import Survey, shipped_tasks
from qwen_allinone.model import Choice, SharedQwen, int8
from qwen_allinone.model.weights.precision import CLEAR_MARGIN

QUESTION = {"mood": Choice(instructions="情绪？", criteria={"积极": None, "消极": None})}


def test_the_copy_is_int8(qwen):
    """Every linear layer is quantised in the copy, and none in the original."""
    found = int8_copy(qwen)
    assert not any(type(part) is torch.nn.Linear for part in found.model.modules())
    assert found.precision.precision == "int8"
    assert type(qwen.local.model.model.layers[0].mlp.up_proj) is torch.nn.Linear


def test_the_copy_decides_nearly_as_the_original(any_qwen):
    """On every architecture int8 changes probabilities a little, and the original's not at all."""
    before = any_qwen.decide("大家都很高兴", QUESTION)["mood"].probabilities
    found = int8_copy(any_qwen).decide("大家都很高兴", QUESTION)["mood"].probabilities
    assert found != before and found["积极"] == pytest.approx(before["积极"], abs=0.2)
    assert any_qwen.decide("大家都很高兴", QUESTION)["mood"].probabilities == before


def test_decisions_are_compared_row_by_row():
    """Agreement counts equal options; toss-ups are left out of the clear ones."""
    task = shipped_tasks(10)[0]
    same, other = Survey(KnownModel(right), [task]), Survey(KnownModel(first_listed), [task])
    positive = sum(row.labels[0] == "positive" for row in task.labelled_set.rows)
    assert agreement(same, same, task)["all"]["share"] == 1.0
    assert agreement(same, other, task)["all"]["share"] == positive / 10
    unsure = Survey(KnownModel(right, margin=CLEAR_MARGIN / 2), [task])
    found = agreement(unsure, other, task)
    assert (found["all"]["n"], found["clear"]["n"], found["clear"]["share"]) == (10, 0, None)


def test_undecided_rows_are_not_compared():
    """A row that one of the two could not decide is in neither share."""
    task = shipped_tasks(10)[0]
    cut = KnownModel(right, too_long=(task.labelled_set.rows[0].text,))
    assert agreement(Survey(KnownModel(right), [task]), Survey(cut, [task]), task)["all"] == {
        "share": 1.0,
        "n": 9,
        "interval": pytest.approx([0.7008, 1.0], abs=1e-3),
    }


def test_a_model_that_is_not_fp32_is_left_alone(models, tokenizer):
    """Without fp32 weights there is no int8, and the reason is given instead."""
    half = SharedQwen.from_model(copy.deepcopy(models["qwen2"]).bfloat16(), tokenizer)
    found = precision(Survey(half, shipped_tasks(1)))
    assert found["available"] is False and "bf16" in found["reason"]


def test_a_torch_without_int8_is_told(qwen, monkeypatch):
    """When torch no longer has the operators, the part says so and names the version."""
    monkeypatch.setattr(int8, "available", lambda: False)
    found = precision(Survey(qwen, shipped_tasks(1)))
    assert found["available"] is False and torch.__version__ in found["reason"]
