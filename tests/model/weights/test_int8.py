"""Linear layers with int8 weights."""

import pytest
import torch
from tiny_qwen import QUESTIONS, TEXT
from torch import nn

from qwen_allinone.model import SharedQwen
from qwen_allinone.model.weights import int8
from qwen_allinone.model.weights.int8 import HalfEmbedding, Int8Linear

pytestmark = pytest.mark.skipif(not int8.available(), reason="this torch has no int8 operators for this CPU")


def _dequantized(layer: Int8Linear) -> torch.Tensor:
    tensors = layer.tensors()
    return tensors["int8_weight"].float() * tensors["int8_scales"][:, None]


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_is_the_nearest_of_int8(bias: bool) -> None:
    """Weights are off by at most half a step of their channel, and outputs by what their inputs are rounded by."""
    torch.manual_seed(0)
    linear = nn.Linear(64, 48, bias=bias).requires_grad_(requires_grad=False)
    layer = Int8Linear.from_linear(linear)
    steps = linear.weight.abs().amax(1, keepdim=True) / 127
    assert ((_dequantized(layer) - linear.weight).abs() <= steps * 0.501).all()
    inputs = torch.randn(3, 5, 64)
    largest = inputs.abs().amax(-1, keepdim=True)
    rounded = (inputs / largest * layer._levels).round() / layer._levels * largest
    expected = rounded @ _dequantized(layer).T + (linear.bias if bias else 0)
    assert torch.allclose(layer(inputs), expected, atol=1e-5)
    assert (layer(inputs) - linear(inputs)).norm() < 0.02 * linear(inputs).norm()


def test_a_token_does_not_depend_on_its_neighbours() -> None:
    """A neighbour with an outlier, or a larger batch, changes nothing at all about what is said of a token."""
    torch.manual_seed(1)
    layer = Int8Linear.from_linear(nn.Linear(64, 48))
    inputs = torch.randn(40, 64)
    alone = layer(inputs[:1])
    inputs[7, 3] = 1e4
    assert torch.equal(layer(inputs)[:1], alone)


def test_the_largest_products_are_exact() -> None:
    """Every weight and input at its extreme: sums that a CPU without integer dot products cannot hold in 16 bits."""
    layer = Int8Linear(torch.full((4, 64), 127, dtype=torch.int8), torch.full((4,), 1 / 127))
    assert torch.allclose(layer(torch.ones(2, 64)), torch.full((2, 4), 64.0))


def test_blank_inputs_and_weights_are_no_division_by_zero() -> None:
    """All zeros in, the bias out."""
    linear = nn.Linear(8, 4).requires_grad_(requires_grad=False)
    assert torch.equal(Int8Linear.from_linear(linear)(torch.zeros(2, 8)), linear.bias.expand(2, 4))
    nn.init.zeros_(linear.weight)
    assert torch.equal(Int8Linear.from_linear(linear)(torch.ones(2, 8)), linear.bias.expand(2, 4))


def test_token_vectors_are_halved_only_where_nothing_is_lost() -> None:
    """A weight that came from 16 bits is kept in 16; another stays."""
    exact = torch.randn(10, 4).bfloat16().float()
    half = HalfEmbedding.from_weight(exact)
    assert half is not None
    assert torch.equal(half(torch.arange(10)), exact)
    assert HalfEmbedding.from_weight(torch.tensor([[1 / 3]])) is None


def test_a_model_decides_and_writes_nearly_as_before(any_qwen: SharedQwen) -> None:
    """Every architecture: no linear layer is left, probabilities move a little, and the original's not at all."""
    before = any_qwen.decide(TEXT, QUESTIONS)
    rounded = SharedQwen.from_model(int8.quantized(any_qwen.local.model), any_qwen.local.tokenizer)
    assert not any(type(part) is nn.Linear for part in rounded.local.model.modules())
    for name, decision in rounded.decide(TEXT, QUESTIONS).items():
        assert decision.probabilities != before[name].probabilities
        assert dict(decision.probabilities) == pytest.approx(dict(before[name].probabilities), abs=0.2)
    assert rounded.generate(TEXT, max_new_tokens=5, min_new_tokens=5).completion_tokens == 5
    any_qwen.clear_cache()
    assert any_qwen.decide(TEXT, QUESTIONS) == before


def test_what_is_packed_cached_or_batched_is_what_it_is_alone(any_qwen: SharedQwen) -> None:
    """The equalities that hold in fp32 hold in int8 as closely."""
    rounded = SharedQwen.from_model(int8.quantized(any_qwen.local.model), any_qwen.local.tokenizer)
    packed = rounded.loglikelihoods(TEXT, QUESTIONS)
    alone = rounded.loglikelihoods(TEXT, QUESTIONS, packed=False)
    for name, options in alone.items():
        assert packed[name] == pytest.approx(options, abs=1e-3)
    texts = [TEXT, "大家都很高兴", "What a day, and nothing was decided in it."]
    batched = list(rounded.decide_all((text, QUESTIONS) for text in texts))
    for text, found in zip(texts, batched, strict=True):
        assert isinstance(found, dict)
        for name, decision in rounded.decide(text, QUESTIONS).items():
            assert dict(found[name].probabilities) == pytest.approx(dict(decision.probabilities), abs=1e-3)


def test_a_hybrid_model_in_int8_goes_on_from_clones(hybrid: SharedQwen) -> None:
    """Linear attention rounds too; its states differ in their last digits, which can move a rounded input by a step."""
    rounded = SharedQwen.from_model(int8.quantized(hybrid.local.model), hybrid.local.tokenizer)
    assert not any(type(part) is nn.Linear for part in rounded.local.model.modules())
    alone = rounded.loglikelihoods(TEXT, QUESTIONS, packed=False)
    for _ in range(2):
        for name, options in rounded.loglikelihoods(TEXT, QUESTIONS).items():
            assert options == pytest.approx(alone[name], rel=1e-3)
    assert rounded.generate(TEXT, max_new_tokens=5, min_new_tokens=5).completion_tokens == 5


def test_named_layers_stay(qwen: SharedQwen) -> None:
    """Those that are named stay in fp32, and are the original's own."""
    made = int8.quantized(qwen.local.model, modules_to_not_convert=("down_proj",))
    left = [name for name, part in made.named_modules() if type(part) is nn.Linear]
    assert left == [f"model.layers.{layer}.mlp.down_proj" for layer in range(2)]
    assert made.get_submodule(left[0]).weight is qwen.local.model.get_submodule(left[0]).weight


@pytest.mark.parametrize("modules", [(), ("lm_head",), ("lm_head", "down_proj")])
def test_a_model_comes_back_from_its_tensors(any_qwen: SharedQwen, modules: tuple[str, ...]) -> None:
    """Bit for bit, whatever stayed in fp32, and without any weight of its own before."""
    made = int8.quantized(any_qwen.local.model, modules_to_not_convert=modules)
    again = int8.restored(made.config, int8.tensors_of(made))
    first, second = (SharedQwen.from_model(model, any_qwen.local.tokenizer) for model in (made, again))
    assert first.loglikelihoods(TEXT, QUESTIONS) == second.loglikelihoods(TEXT, QUESTIONS)
    assert first.generate(TEXT, max_new_tokens=8).text == second.generate(TEXT, max_new_tokens=8).text


def test_a_model_holds_on_to_none_of_the_tensors_it_came_from(qwen: SharedQwen) -> None:
    """They may belong to a file that stays in memory as a whole while one of them is used."""
    tensors = int8.tensors_of(int8.quantized(qwen.local.model))
    given = {tensor.untyped_storage().data_ptr() for tensor in tensors.values()}
    again = int8.restored(qwen.local.model.config, tensors)
    biases = [part._bias for part in again.modules() if isinstance(part, Int8Linear) and part._bias is not None]
    held = [*again.parameters(), *again.buffers(), *biases]
    assert len(biases) == 6
    assert not given & {tensor.untyped_storage().data_ptr() for tensor in held}


def test_tensors_of_another_model_are_an_error(qwen: SharedQwen) -> None:
    """Missing tensors are told, not made up; those of another shape are not taken."""
    tensors = int8.tensors_of(int8.quantized(qwen.local.model))
    norm = tensors.pop("model.norm.weight")
    with pytest.raises(KeyError):
        int8.restored(qwen.local.model.config, tensors)
    with pytest.raises(ValueError, match=r"model\.norm\.weight has the shape"):
        int8.restored(qwen.local.model.config, {**tensors, "model.norm.weight": norm[:7]})
    query = "model.layers.0.self_attn.q_proj.int8_weight"
    with pytest.raises(ValueError, match="q_proj"):
        int8.restored(qwen.local.model.config, {**tensors, "model.norm.weight": norm, query: tensors[query][:, :8]})
