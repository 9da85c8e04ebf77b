import copy
import json

import pytest
from known_model import MOOD, tasks

from qwen_allinone.errors import InputError, NotLocalError
from qwen_allinone.eval.diagnostics import FailedCheck, diagnose
from qwen_allinone.model import Capabilities, SharedQwen

ROWS = 8
CHECKS = ["template", "control_tokens", "packed_scoring", "option_flips", "layouts", "int8", "corrections"]


@pytest.fixture(scope="module")
def diagnosis(qwen):
    """Diagnosis of a random model on a small sample."""
    return diagnose(qwen, tasks(), rows=ROWS)


def test_every_check_has_a_result_and_its_seconds(diagnosis):
    """All checks of a sound model run without an error, and each says how long it took."""
    assert [name for name in CHECKS if isinstance(getattr(diagnosis, name), FailedCheck)] == []
    assert list(diagnosis.seconds) == CHECKS and all(seconds >= 0 for seconds in diagnosis.seconds.values())


def test_the_result_is_one_json_object(diagnosis):
    """Everything in it survives JSON, without NaN or infinity, and names every check."""
    found = diagnosis.to_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found.keys() >= {*CHECKS, "seconds"}


def test_the_result_names_what_was_checked(diagnosis, models):
    """Model, size, dtype and the rows are part of the result."""
    found = diagnosis.to_json()
    assert (found["model"], found["architecture"]) == ("custom", "Qwen2ForCausalLM")
    assert found["parameters"] == models["qwen2"].num_parameters()
    assert (found["device"], found["dtype"]) == ("cpu", "float32")
    assert found["capabilities"]["layout"] == "text_first"
    assert found["data"]["mood"] == MOOD.spaced(ROWS).to_json()
    assert [found["data"][task]["rows"] for task in ("mood", "route")] == [ROWS, ROWS]


def test_figures_agree_with_each_other(diagnosis):
    """The declared layout without corrections is the same measurement wherever it appears."""
    assert diagnosis.corrections.reports["none"] == diagnosis.layouts.reports["text_first"]
    assert diagnosis.int8.tasks["mood"].fp32 is diagnosis.layouts.reports["text_first"]["mood"]
    assert diagnosis.packed_scoring.agree and diagnosis.control_tokens.inert
    assert diagnosis.int8.tasks["mood"].all.n == ROWS


def test_a_check_that_fails_leaves_the_others(models, tokenizer):
    """Broken weights give an error in the place of the check that notices; the other checks have their results."""
    broken = copy.deepcopy(models["qwen2"])
    broken.model.norm.weight.data.fill_(float("nan"))
    found = diagnose(SharedQwen.from_model(broken, tokenizer), tasks(), rows=1)
    assert found.packed_scoring.error.startswith("RunError: a log-likelihood is not finite")
    assert found.control_tokens.inert and found.option_flips.tasks["mood"].unscored == 1
    assert list(found.seconds) == CHECKS
    assert found.to_json()["packed_scoring"] == {"error": found.packed_scoring.error}
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("given", "rows", "message"),
    [
        (tasks(), 0, "rows must be at least 1, given 0"),
        ((), None, "name at least one"),
        ((MOOD, MOOD), None, r"different names, given \['mood', 'mood'\]"),
    ],
    ids=["no rows", "no tasks", "a name twice"],
)
def test_bad_arguments_are_refused(qwen, given, rows, message):
    """No rows, no tasks, or two of one name are one clear error."""
    with pytest.raises(InputError, match=message):
        diagnose(qwen, given, rows=rows)


class RemoteEngine:
    """Engine of a model whose weights are not in this process."""

    def __init__(self, chat):
        self.chat, self.capabilities, self.layers = chat, Capabilities(), 0


def test_a_model_on_a_server_is_refused(qwen):
    """A model whose weights are elsewhere is refused by name, before anything is asked of it."""
    remote = SharedQwen(RemoteEngine(qwen.chat), name="http://somewhere/v1#m")
    with pytest.raises(NotLocalError, match="http://somewhere/v1#m is on a server"):
        diagnose(remote, tasks())
