import copy
import json
import subprocess
import sys

import pytest

from qwen_allinone.doctor import check, check_loaded
from qwen_allinone.errors import CapabilityError, InputError, ModelNotFoundError
from qwen_allinone.model import SharedQwen

ROWS = 8
PARTS = ["template", "control_tokens", "packed_scoring", "option_flips", "layouts", "precision", "corrections"]


@pytest.fixture(scope="module")
def found(model_folder):
    """A checkup of a small sample, as JSON would carry it."""
    return check(str(model_folder), rows=ROWS)


def test_every_part_has_a_result_and_its_seconds(found):
    """A checkup of a folder runs all parts without an error and says how long each took."""
    assert [part for part in PARTS if "error" in found[part]] == []
    assert list(found["seconds"]) == PARTS and all(seconds >= 0 for seconds in found["seconds"].values())


def test_the_result_is_one_json_object(found):
    """Everything in it survives JSON, without NaN or infinity."""
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_result_names_what_was_checked(found, model_folder, models):
    """Model, size, precision, versions and the rows are part of the result."""
    assert found["model"] == str(model_folder) and found["architecture"] == "Qwen2ForCausalLM"
    assert found["parameters"] == models["qwen2-tied"].num_parameters()
    assert (found["device"], found["dtype"]) == ("cpu", "float32")
    assert found["auto"]["precision"] == "fp32" and "100 million" in found["auto"]["reason"]
    assert found["versions"]["torch"] and found["versions"]["qwen-allinone"]
    assert [found["data"][task]["rows"] for task in ("mood", "route")] == [ROWS, ROWS]


def test_figures_agree_with_each_other(found):
    """The declared layout without corrections is the same measurement wherever it appears."""
    assert found["corrections"]["none"] == found["layouts"]["text_first"]
    assert found["packed_scoring"]["agree"] and found["control_tokens"]["inert"]
    assert found["precision"]["mood"]["all"]["n"] == found["layouts"]["text_first"]["mood"]["n"] == ROWS


def test_a_part_that_fails_leaves_the_others(models, tokenizer):
    """Broken weights give an error in the place of the part that notices; the other parts have their results."""
    broken = copy.deepcopy(models["qwen2"])
    broken.model.norm.weight.data.fill_(float("nan"))
    found = check_loaded(SharedQwen.from_model(broken, tokenizer), rows=1)
    assert found["packed_scoring"]["error"].startswith("RunError: a log-likelihood is not finite")
    assert found["control_tokens"]["inert"] and "reversed" in found["option_flips"]["mood"]
    assert list(found["seconds"]) == PARTS
    json.dumps(found, allow_nan=False)


def test_bad_arguments_are_refused_before_anything_is_loaded(tmp_path):
    """No rows, or no model, is one clear error."""
    with pytest.raises(InputError, match="rows must be at least 1, given 0"):
        check("bundled", rows=0)
    with pytest.raises(ModelNotFoundError, match=r"lacks config\.json"):
        check(str(tmp_path))


def test_importing_the_doctor_is_light():
    """Neither torch nor transformers is imported before something is examined."""
    code = (
        "import sys, qwen_allinone.doctor; print([n for n in ('torch', 'transformers', 'sklearn') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_model_on_a_server_is_not_checked_from_here():
    """It is told so before anything is asked of the server."""
    with pytest.raises(CapabilityError, match="on a server cannot be checked"):
        check("http://127.0.0.1:9/v1#m")
