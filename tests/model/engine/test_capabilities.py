import json

import pytest

from qwen_allinone.errors import ModelNotFoundError
from qwen_allinone.model import Capabilities


def test_a_folder_that_declares_nothing_is_a_real_qwen(tmp_path):
    """Without capabilities.json everything is read whole and written."""
    assert Capabilities.from_folder(tmp_path) == Capabilities(
        layout="text_first", summary="written", max_input_tokens=None
    )


def test_what_a_folder_declares_is_read(tmp_path):
    """The file's values win over the defaults."""
    declared = {"layout": "instruction_first", "summary": "extractive", "recall": "quoted", "max_input_tokens": 64}
    declared |= {
        "max_history_messages": 4,
        "prior": True,
        "decision_layers": 3,
        "length_normalized": True,
        "repetition_penalty": 1.3,
    }
    (tmp_path / "capabilities.json").write_text(json.dumps(declared), encoding="utf-8")
    assert Capabilities.from_folder(tmp_path).model_dump() == declared


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"layout": "sideways"}', '{"reading": 3}', '{"max_input_tokens": 1}', '{"decision_layers": 0}'],
)
def test_a_broken_file_is_refused_in_one_line(tmp_path, content):
    """What cannot be understood is refused with the file's name, not ignored."""
    (tmp_path / "capabilities.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelNotFoundError, match=r"capabilities\.json is not valid") as caught:
        Capabilities.from_folder(tmp_path)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_not_text_are_refused(tmp_path):
    """A file that is not UTF-8 is refused like any other broken one."""
    (tmp_path / "capabilities.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelNotFoundError, match=r"capabilities\.json is not valid"):
        Capabilities.from_folder(tmp_path)
