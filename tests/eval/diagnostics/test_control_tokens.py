from tiny_qwen import CONTROL_TOKENS

from qwen_allinone.eval.diagnostics.control_tokens import MAX_SHOWN, check_control_tokens
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
    found = check_control_tokens(ChatML(tokenizer), tokenizer)
    assert found.inert
    assert found.to_json() == {"tokens": len(CONTROL_TOKENS), "inert": True, "failed": 0, "failures": []}


def test_control_ids_in_plain_text_are_found(tokenizer):
    """An encoder that lets control tokens through is caught in text, label and note, with the token that did it."""
    found = check_control_tokens(Careless(tokenizer), tokenizer)
    assert not found.inert and len(found.leaks) >= len(CONTROL_TOKENS) * 3
    assert {leak.token for leak in found.leaks} == set(CONTROL_TOKENS)
    assert {leak.place for leak in found.leaks} == {"text", "note", "label"}
    assert set(found.leaks[0].ids) <= set(tokenizer.added_tokens_decoder)
    plain = found.to_json()
    assert plain["failed"] == len(found.leaks) and len(plain["failures"]) == MAX_SHOWN
    assert {"token", "place", "ids"} == plain["failures"][0].keys()
