import copy
import os
from pathlib import Path

import pytest
from tiny_qwen import PLAIN_ADDED_TOKENS
from tokenizers import AddedToken
from transformers import AutoTokenizer

from qwen_allinone.eval.diagnostics.template import CONVERSATIONS, MAX_SHOWN, compare_template
from qwen_allinone.model.prompt.chatml import ChatML

FOLDER = os.environ.get("QWEN_TEMPLATES", "")
PLAIN = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture
def with_template(tokenizer):
    """Makes a tokenizer with the given chat template, and the encoder for it."""

    def make(template):
        made = copy.deepcopy(tokenizer)
        made.chat_template = template
        return made, ChatML(made)

    return make


def test_a_template_of_the_known_kind_gives_equal_ids(with_template):
    """Every conversation of the list is compared, and all are equal where the template is the one expected."""
    found = compare_template(*with_template(PLAIN))
    assert found.template and found.equal and found.decision_prompt.equal
    plain = found.to_json()
    assert plain["compared"] == len(CONVERSATIONS) and plain["differences"] == plain["errors"] == []
    assert plain["decision_prompt"] == {"equal": True}


def test_a_difference_is_shown_from_both_sides(with_template):
    """A template that lays a conversation out otherwise is found, with the first place where the two part."""
    found = compare_template(*with_template(PLAIN.replace("message['content'] +", "message['content'] + '!' +")))
    assert found.equal is False and len(found.differences) == len(CONVERSATIONS)
    plain = found.to_json()
    assert plain["different"] == len(CONVERSATIONS) and len(plain["differences"]) == MAX_SHOWN
    first = plain["differences"][0]
    assert first["messages"] == [["user", "Hello there!"]]
    assert "there!!<|im_end|>" in first["template"] and "there!<|im_end|>" in first["qwen_allinone"]


def test_a_missing_ending_is_a_difference(with_template):
    """A rendering that is the mere beginning of the prompt is not equal to it."""
    found = compare_template(*with_template(PLAIN.replace("{{ '<|im_start|>assistant\n' }}", "")))
    assert found.equal is False and found.differences[0].difference.qwen_allinone.endswith("assistant\n")


def test_a_template_that_raises_is_reported(with_template):
    """A refused conversation is an error of the template's, neither equal nor a crash; the others are compared."""
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn') }}{% endif %}" + PLAIN
    found = compare_template(*with_template(refusing))
    with_system = sum(messages[0].role == "system" for messages in CONVERSATIONS)
    assert (found.equal, len(found.differences), len(found.errors)) == (False, 0, with_system)
    plain = found.to_json()
    assert "no system turn" in plain["errors"][0]["error"] and plain["failed"] == with_system
    assert plain["decision_prompt"]["equal"] is False and "no system turn" in plain["decision_prompt"]["error"]


def test_broken_and_escaping_templates_are_reported(with_template):
    """Neither a syntax error nor an attempt to leave the sandbox is raised or carried out."""
    for template in ("{% if %}", "{{ ''.__class__.__mro__[1].__subclasses__() }}"):
        found = compare_template(*with_template(template))
        assert found.equal is False and len(found.errors) == len(CONVERSATIONS)


def test_without_a_template_nothing_is_claimed(with_template):
    """A tokenizer without a template is neither equal nor unequal."""
    found = compare_template(*with_template(None))
    assert found.template is False and found.equal is None
    assert found.to_json()["compared"] == 0 and "decision_prompt" not in found.to_json()


@pytest.mark.skipif(not FOLDER, reason="QWEN_TEMPLATES names no folder with qwen2-tokenizer/ and chat-templates/")
@pytest.mark.parametrize("name", [None, "qwen2_5", "qwen3", "qwen3_instruct_2507"])
def test_real_templates_are_equal(name):
    """The templates of real Qwen generations are found equal, with thinking on and off where they have it."""
    tokenizer = AutoTokenizer.from_pretrained(Path(FOLDER) / "qwen2-tokenizer")
    if name is not None:
        tokenizer.chat_template = (Path(FOLDER) / "chat-templates" / f"{name}.jinja").read_text(encoding="utf-8")
    if name in {"qwen3", "qwen3_instruct_2507"}:
        tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in PLAIN_ADDED_TOKENS])
    found = compare_template(tokenizer, ChatML(tokenizer))
    assert found.equal, found.to_json()
    assert len(found.conversations) == (2 * (len(CONVERSATIONS) + 1) if name == "qwen3" else len(CONVERSATIONS))
    assert found.decision_prompt.equal


@pytest.mark.skipif(not FOLDER, reason="QWEN_TEMPLATES names no folder with qwen2-tokenizer/ and chat-templates/")
def test_a_template_that_refuses_a_late_system_turn_says_so():
    """A generation whose own template takes no system turn behind the user's has that said of the decision prompt."""
    tokenizer = AutoTokenizer.from_pretrained(Path(FOLDER) / "qwen2-tokenizer")
    tokenizer.chat_template = (Path(FOLDER) / "chat-templates" / "qwen3_5_nothink.jinja").read_text(encoding="utf-8")
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in PLAIN_ADDED_TOKENS])
    found = compare_template(tokenizer, ChatML(tokenizer))
    assert found.equal, found.to_json()
    assert "System message must be at the beginning" in found.decision_prompt.error
