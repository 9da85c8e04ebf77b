import copy

import pytest
import torch
from known_model import MOOD, KnownModel, first_listed, right, tasks

from qwen_allinone.eval import Case, LabelledRow
from qwen_allinone.eval.diagnostics import Task
from qwen_allinone.eval.diagnostics.evaluations import Evaluations
from qwen_allinone.eval.diagnostics.int8_agreement import CLEAR_MARGIN, Agreement, compare_int8, int8_copy
from qwen_allinone.model import Choice, SharedQwen
from qwen_allinone.model.weights import int8

QUESTION = {"mood": Choice(instructions="情绪？", criteria={"积极": None, "消极": None})}
ROWS = 10
TASK = MOOD.spaced(ROWS)


def agreement(one, other):
    """Return the agreement of two models on the mood."""
    return Agreement(Evaluations(one).report(TASK), Evaluations(other).report(TASK))


def test_the_copy_is_int8(qwen):
    """Every linear layer is quantized in the copy, and none in the original."""
    found = int8_copy(qwen)
    assert not any(type(part) is torch.nn.Linear for part in found.local.model.modules())
    assert found.quantization.dtype == "int8"
    assert type(qwen.local.model.model.layers[0].mlp.up_proj) is torch.nn.Linear


def test_the_copy_decides_nearly_as_the_original(any_qwen):
    """On every architecture int8 changes probabilities a little, and the original's not at all."""
    before = any_qwen.decide("大家都很高兴", QUESTION)["mood"].probabilities
    found = int8_copy(any_qwen).decide("大家都很高兴", QUESTION)["mood"].probabilities
    assert found != before and found["积极"] == pytest.approx(before["积极"], abs=0.2)
    assert any_qwen.decide("大家都很高兴", QUESTION)["mood"].probabilities == before


def test_decisions_are_compared_row_by_row():
    """Agreement counts equal options; toss-ups are left out of the clear ones."""
    positive = sum(case.row.labels[0] == "positive" for case in TASK.cases)
    assert agreement(KnownModel(right), KnownModel(right)).all.value == 1.0
    assert agreement(KnownModel(right), KnownModel(first_listed)).all.value == positive / ROWS
    found = agreement(KnownModel(right, margin=CLEAR_MARGIN / 2), KnownModel(first_listed))
    assert (found.all.n, found.clear.n, found.clear.value) == (ROWS, 0, None)


def test_right_answers_are_paired():
    """Rows that one alone got right are counted, and told from chance."""
    negative = sum(case.row.labels[0] == "negative" for case in TASK.cases)
    found = agreement(KnownModel(right), KnownModel(first_listed)).to_json()["paired"]
    assert (found["only_fp32_right"], found["only_int8_right"]) == (negative, 0)
    assert found["p_value"] == pytest.approx(min(1.0, 2 * 0.5**negative))


def test_learned_decisions_are_compared_where_there_are_examples(qwen):
    """A task whose question has examples is compared by learned decisions too, another is not."""
    fields = {"examples": {"积极": ["真好", "很高兴"], "消极": ["糟透了", "很难过"]}}
    taught = Choice(**QUESTION["mood"].model_dump() | fields)
    rows = [LabelledRow("1", "大家都很高兴", ("积极",), "zh"), LabelledRow("2", "菜是凉的", ("消极",), "zh")]
    both = [
        Task(name, "own", tuple(Case(row, asked) for row in rows))
        for name, asked in (("a", taught), ("b", QUESTION["mood"]))
    ]
    found = compare_int8(Evaluations(qwen), both)
    assert set(found.tasks) == {"a", "b"} and set(found.learned) == {"a"}
    assert found.learned["a"].fp32.samples[0].decision.typicality is not None
    assert found.to_json()["a"]["learned"]["all"]["n"] == 2 and "learned" not in found.to_json()["b"]


def test_undecided_rows_are_not_compared():
    """A row that one of the two could not decide is in neither share."""
    cut = KnownModel(right, too_long=(TASK.cases[0].row.text,))
    found = agreement(KnownModel(right), cut).to_json()
    interval = pytest.approx([0.7008, 1.0], abs=1e-3)
    assert found["all"] == found["clear"] == {"share": 1.0, "n": ROWS - 1, "interval": interval}
    assert found["int8"]["unscored"] == 1


def test_a_model_that_is_not_fp32_is_left_alone(models, tokenizer):
    """Without fp32 weights there is no int8 to compare, and the reason is given instead."""
    half = SharedQwen.from_model(copy.deepcopy(models["qwen2"]).bfloat16(), tokenizer)
    found = compare_int8(Evaluations(half), tasks(1))
    assert not found.available and "bf16 on cpu" in found.reason
    assert found.to_json() == {"available": False, "reason": found.reason}


def test_a_quantized_model_is_left_alone(qwen):
    """Int8 weights, which torch takes for fp32 ones, are not quantized again."""
    found = compare_int8(Evaluations(int8_copy(qwen)), tasks(1))
    assert not found.available and "int8 on cpu" in found.reason


def test_a_torch_without_int8_is_told(qwen, monkeypatch):
    """The check says that torch has the operators no longer, and names its version."""
    monkeypatch.setattr(int8, "available", lambda: False)
    found = compare_int8(Evaluations(qwen), tasks(1))
    assert not found.available and torch.__version__ in found.reason
