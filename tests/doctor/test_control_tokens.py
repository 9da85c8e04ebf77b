from tiny_qwen import CONTROL_TOKENS

from qwen_allinone.doctor.control_tokens import control_tokens
from qwen_allinone.model.prompt.chatml import ChatML


class Careless(ChatML):
    """Encodes plain text by the normal tokenizer, as most programs do."""

    def __init__(self, tokenizer):
        self._normal = tokenizer
        super().__init__(tokenizer)

    def encode(self, text):
        """Control tokens in the text become control ids."""
        return list(self._normal(text, add_special_tokens=False).input_ids)


def test_every_added_token_is_counted_and_inert(tokenizer):
    """All added tokens are tried, those not marked special included, and none comes through."""
    found = control_tokens(ChatML(tokenizer), tokenizer)
    assert found == {"tokens": len(CONTROL_TOKENS), "inert": True, "failed": 0, "failures": []}


def test_control_ids_in_plain_text_are_found(tokenizer):
    """An encoder that lets control tokens through is caught in text, label and note, with the token that did it."""
    found = control_tokens(Careless(tokenizer), tokenizer)
    assert found["inert"] is False
    assert {"token", "place", "ids"} == found["failures"][0].keys()
    assert {failure["place"] for failure in found["failures"]} == {"text", "note", "label"}
    assert found["failed"] >= len(CONTROL_TOKENS) * 3
    assert set(found["failures"][0]["ids"]) <= set(tokenizer.added_tokens_decoder)
