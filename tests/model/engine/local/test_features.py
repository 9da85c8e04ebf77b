"""Hidden states of the shared reading."""

import numpy as np
import pytest
import torch
from many_threads import TEXTS, passes
from tiny_qwen import ENGLISH, QUESTIONS, TEXT, fresh, laid_out

from qwen_allinone.errors import CapabilityError, EmptyTextError, TextTooLongError
from qwen_allinone.model import Features, Message, SharedQwen
from qwen_allinone.model.engine.base import ReadRequest
from qwen_allinone.model.engine.local.prefix_cache import PrefixCache


def expected(qwen: SharedQwen, messages: list[Message], layer: int) -> Features:
    """Mean over the last turn's text, and the end of that turn, each by one pass over everything."""
    before = qwen.chat.turns(messages[:-1])
    header = [qwen.chat.turns(messages[-1:])[0], *qwen.chat.encode("user\n")]
    text = qwen.chat.encode(messages[-1].content)
    ids = [*before, *header, *text]
    assert qwen.chat.turns(messages)[: len(ids)] == ids
    with torch.no_grad():
        model = qwen.local.model
        states = model(input_ids=torch.tensor([ids]), output_hidden_states=True, use_cache=False).hidden_states
    own = states[layer][0, len(ids) - len(text) :]
    with torch.no_grad():
        whole = qwen.chat.turns(messages)
        end = model(input_ids=torch.tensor([whole]), output_hidden_states=True, use_cache=False).hidden_states
    return Features(own.mean(0).numpy(), end[layer][0, -1].numpy())


def close(found: Features, wanted: Features) -> bool:
    """Compare both vectors."""
    pairs = ((found.mean, wanted.mean), (found.end, wanted.end))
    return all(np.allclose(one, other, rtol=1e-4, atol=1e-3) for one, other in pairs)


@pytest.mark.parametrize("text", [TEXT, ENGLISH, "好"])
def test_hidden_states_are_those_of_the_text(any_qwen: SharedQwen, text: str) -> None:
    """Mean over its tokens and the end of the closed turn, after the chosen layer."""
    assert close(fresh(any_qwen).read(text, layer=1), expected(any_qwen, laid_out(text), 1))


def test_history_stands_before_the_text(any_qwen: SharedQwen) -> None:
    """Only the text counts, but it is read behind the earlier turns."""
    history = [Message("user", "你好"), Message("assistant", "你好！")]
    persona, user = laid_out(TEXT)
    found = fresh(any_qwen).read(TEXT, layer=1, history=history)
    assert close(found, expected(any_qwen, [persona, *history, user], 1))
    assert not close(found, fresh(any_qwen).read(TEXT, layer=1))


def test_a_hybrid_model_has_hidden_states_too(hybrid: SharedQwen) -> None:
    """Read anew or going on from what was read before."""
    for layer in (1, 2, 3):
        assert close(hybrid.read(TEXT, layer=layer), expected(hybrid, laid_out(TEXT), layer))


def test_a_decision_and_a_reply_go_on_from_the_reading(any_qwen: SharedQwen) -> None:
    """What was read for its hidden states is not read again, and both are what they would be without."""
    alone = fresh(any_qwen)
    decided, reply = alone.decide(TEXT, QUESTIONS), alone.generate(TEXT, max_new_tokens=4, min_new_tokens=4)
    shared = fresh(any_qwen)
    shared.read(TEXT, layer=1)
    prefix = len(shared.chat.turns(laid_out(TEXT)))
    before = shared.local.prefix_cache.statistics.reused_tokens
    for name, decision in shared.decide(TEXT, QUESTIONS).items():
        assert dict(decision.probabilities) == pytest.approx(dict(decided[name].probabilities), abs=1e-4)
    assert shared.generate(TEXT, max_new_tokens=4, min_new_tokens=4) == reply
    assert shared.local.prefix_cache.statistics.reused_tokens - before == 2 * prefix


def test_hidden_states_are_kept_with_the_prefix(any_qwen: SharedQwen) -> None:
    """The second time costs no pass, also behind a reply; another layer, or a cleared cache, costs one."""
    shared = fresh(any_qwen)
    first = shared.read(TEXT, layer=1)
    shared.generate(TEXT, max_new_tokens=3, min_new_tokens=3)
    with passes(shared) as rows:
        assert close(shared.read(TEXT, layer=1), first)
    assert rows == []
    with passes(shared) as rows:
        shared.read(TEXT, layer=2)
    assert len(rows) == 1
    shared.clear_cache()
    with passes(shared) as rows:
        assert close(shared.read(TEXT, layer=1), first)
    assert rows


def test_a_text_that_was_decided_before_is_read_without_its_beginning(any_qwen: SharedQwen) -> None:
    """Where the pass before took no hidden states, only the text itself is read again."""
    shared = fresh(any_qwen)
    shared.decide(TEXT, QUESTIONS)
    read: list[int] = []
    hook = shared.local.model.base_model.layers[0].register_forward_hook(
        lambda _module, arguments, _output: read.append(arguments[0].shape[1])
    )
    try:
        found = shared.read(TEXT, layer=1)
    finally:
        hook.remove()
    assert close(found, expected(any_qwen, laid_out(TEXT), 1))
    text = len(shared.chat.encode(TEXT))
    assert read == [text + 2]  # with the end of the turn


@pytest.mark.parametrize("cache_prefix", [True, False])
def test_many_texts_share_a_pass(any_qwen: SharedQwen, cache_prefix: bool) -> None:
    """Each gets what it gets alone; a pass that nobody goes on from ends after the layer."""
    shared = fresh(any_qwen)
    requests = [ReadRequest(laid_out(text), (1,), cache_prefix) for text in TEXTS]
    layers: list[int] = []
    hook = shared.local.model.base_model.layers[1].register_forward_hook(lambda *_: layers.append(1))
    try:
        with passes(shared) as rows:
            found = [each.result()[1] for each in shared.engine.read(requests)]
    finally:
        hook.remove()
    assert max(rows, default=len(TEXTS)) > 1
    for text, features in zip(TEXTS, found, strict=True):
        assert close(features, expected(any_qwen, laid_out(text), 1))
    assert shared.local.prefix_cache.holds(shared.chat.turns(laid_out(TEXT))) is cache_prefix


def test_without_a_cache_the_hidden_states_are_the_same(qwen: SharedQwen) -> None:
    """Nothing depends on what is kept."""
    cold = fresh(qwen, prefix_cache=PrefixCache(0))
    for _ in range(2):
        assert close(cold.read(TEXT, layer=2), fresh(qwen).read(TEXT, layer=2))


def test_bad_requests_are_refused(qwen: SharedQwen) -> None:
    """A layer that is not there, a blank text, one beyond the window."""
    for layer in (0, 3):
        with pytest.raises(CapabilityError, match="the model has 2"):
            qwen.read(TEXT, layer=layer)
    with pytest.raises(EmptyTextError):
        qwen.read(" ", layer=1)
    with pytest.raises(TextTooLongError, match="1024"):
        qwen.read("字" * 1100, layer=1)
