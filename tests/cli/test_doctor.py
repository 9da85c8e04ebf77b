import json
import shutil

import pytest

from qwen_allinone.cli.doctor import builtin_tasks, check_model
from qwen_allinone.errors import CapabilityError, InputError, ModelNotFoundError
from qwen_allinone.eval import LabelledSet
from qwen_allinone.model import Decision
from qwen_allinone.model.weights.cache import QuantizedWeightsCache
from qwen_allinone.model.weights.report import QuantizationReport

ROWS = 4


def test_the_tasks_are_the_builtin_sets_with_the_questions_of_the_product():
    """Every option of every question stands for a label of the set, in the language of the text."""
    mood, route = builtin_tasks()
    assert mood.to_json()["digest"] == LabelledSet.builtin("sentiment").digest
    assert route.to_json()["digest"] == LabelledSet.builtin("routes").digest
    for task in (mood, route):
        for case in task.cases:
            decision = case.in_labels(Decision.from_probabilities(dict.fromkeys(case.question.criteria, 0.5)))
            assert set(decision.probabilities) == set(task.labelled_set.labels)
    assert {tuple(case.labels) for case in mood.cases} == {("正面", "负面"), ("positive", "negative")}


def test_a_check_names_the_dtype_the_versions_and_the_rows(model_folder):
    """A folder is checked in fp32, and everything is one JSON object."""
    found = json.loads(json.dumps(check_model(str(model_folder), rows=ROWS), allow_nan=False))
    assert found["model"] == str(model_folder) and found["dtype"] == "float32"
    assert found["auto"]["dtype"] == "fp32" and "100 million" in found["auto"]["reason"]
    assert found["versions"]["torch"] and found["versions"]["qwen-allinone"]
    assert [found["data"][task]["rows"] for task in ("mood", "route")] == [ROWS, ROWS]
    assert [name for name in found["seconds"] if "error" in found[name]] == []


def test_a_model_that_is_best_in_int8_is_checked_in_fp32(model_folder, tmp_path, monkeypatch):
    """The dtype that a user gets is named, and int8 is compared with the weights as they were."""
    monkeypatch.setenv("QWEN_ALLINONE_CACHE", str(tmp_path / "kept"))
    folder = shutil.copytree(model_folder, tmp_path / "model")
    QuantizedWeightsCache(folder).keep_report(QuantizationReport("int8", "decides as fp32 does, and faster"))
    found = check_model(str(folder), rows=1)
    assert found["auto"]["dtype"] == "int8"
    assert found["int8"]["available"] is True


def test_bad_arguments_are_refused(tmp_path):
    """No rows, or no model, is one clear error."""
    with pytest.raises(InputError, match="rows must be at least 1, given 0"):
        check_model("bundled", rows=0)
    with pytest.raises(ModelNotFoundError, match=r"lacks config\.json"):
        check_model(str(tmp_path))


def test_a_model_on_a_server_is_refused_by_name():
    """The error comes before anything is asked of the server."""
    with pytest.raises(CapabilityError, match=r"^http://127\.0\.0\.1:9/v1#m is on a server and cannot be checked"):
        check_model("http://127.0.0.1:9/v1#m")
