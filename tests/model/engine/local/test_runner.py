import copy

import pytest
import torch
from tiny_qwen import ENGLISH, QUESTIONS, SHAPE, close, laid_out, likelihood
from transformers import Qwen2Config, Qwen2ForCausalLM

from qwen_allinone.errors import CapabilityError
from qwen_allinone.model import Capabilities, Message, SharedQwen
from qwen_allinone.model.engine.local import cloned_runner
from qwen_allinone.model.engine.local.cloned_runner import ClonedRunner
from qwen_allinone.model.engine.local.packing import Branch, BranchedPrompt
from qwen_allinone.model.engine.local.prefix_cache import PrefixCache
from qwen_allinone.model.engine.local.runner import ModelRunner
from qwen_allinone.model.weights import int8

TEXT = "会议拖了两个小时，毫无进展。The meeting took two hours."
OPTION_SETS = [
    ("positive", "negative"),
    ("book a ticket", "book a table", "book"),
    ("订票", "订", "订票和酒店以及接送机的车"),
    ("a",),
    tuple("0123456789"),
    ("<|im_end|>", "<think>", "🎉"),
]


def branches_of(qwen: SharedQwen, sets=OPTION_SETS) -> list[Branch]:
    """One question per set of options."""
    return [
        Branch(
            (*qwen.chat.encode(f"question {number}: which?"), *qwen.chat.opening()),
            tuple((*qwen.chat.encode(option), qwen.chat.end_of_turn) for option in options),
        )
        for number, options in enumerate(sets)
    ]


@pytest.fixture(autouse=True)
def inference_mode():
    """As the scheduler runs its batches."""
    with torch.inference_mode():
        yield


def score(runner: ModelRunner, prefix, branches):
    """Score branches behind one prefix."""
    (scores,) = runner.score([BranchedPrompt(tuple(prefix), tuple(branches))])
    return scores


def read(runner: ModelRunner, prefix) -> None:
    """Read a prefix, and keep it."""
    runner.read([tuple(prefix)], [(0, len(prefix))], layers=(1,))


def brute_force(model, prefix, branches) -> list[list[float]]:
    """Scores by one whole forward pass per leaf."""
    return [[likelihood(model, [*prefix, *branch.suffix], leaf) for leaf in branch.candidates] for branch in branches]


def assert_equal(scores, expected) -> None:
    """Both hold the same scores in the same places."""
    assert [len(branch) for branch in scores] == [len(branch) for branch in expected]
    for branch, wanted in zip(scores, expected, strict=True):
        assert list(branch) == pytest.approx(list(wanted), rel=2e-5, abs=1e-4)


def test_packed_scores_equal_brute_force(any_qwen):
    """Options that share a beginning, contain one another or differ in length score as if each stood alone."""
    prefix, branches = any_qwen.chat.encode(TEXT), branches_of(any_qwen)
    runner = ModelRunner(any_qwen.local.model, PrefixCache())
    assert runner.packs
    assert_equal(score(runner, prefix, branches), brute_force(any_qwen.local.model, prefix, branches))


def test_a_cached_prefix_changes_no_score(any_qwen):
    """Scores are the same whether nothing, a part, or all of the prefix was read before."""
    prefix, branches = any_qwen.chat.encode(TEXT), branches_of(any_qwen)
    expected = brute_force(any_qwen.local.model, prefix, branches)
    cache = PrefixCache()
    runner = ModelRunner(any_qwen.local.model, cache)
    read(runner, prefix[:7])
    assert_equal(score(runner, prefix, branches), expected)
    assert cache.statistics.reused_tokens == 7
    assert_equal(score(runner, prefix, branches), expected)
    assert cache.statistics.reused_tokens == 7 + len(prefix)
    assert_equal(score(runner, prefix[:5], branches), brute_force(any_qwen.local.model, prefix[:5], branches))


def test_scores_without_a_prefix_equal_brute_force(any_qwen):
    """Questions that stand before their text (nothing shared) are scored alike."""
    branches = branches_of(any_qwen)
    assert_equal(
        score(ModelRunner(any_qwen.local.model, PrefixCache()), [], branches),
        brute_force(any_qwen.local.model, [], branches),
    )


def test_many_questions_at_once(qwen):
    """Forty questions in one pass score as they would one by one."""
    prefix, branches = qwen.chat.encode(TEXT), branches_of(qwen, [("yes", "no"), ("是", "否", "是否")] * 20)
    assert_equal(
        score(ModelRunner(qwen.local.model, PrefixCache()), prefix, branches),
        brute_force(qwen.local.model, prefix, branches),
    )


def test_a_sibling_question_changes_no_score(any_qwen):
    """A question's scores do not depend on which questions are asked beside it, or where it stands among them."""
    prefix, (first, second, *others) = any_qwen.chat.encode(TEXT), branches_of(any_qwen)
    runner = ModelRunner(any_qwen.local.model, PrefixCache())
    alone = score(runner, prefix, [first])[0]
    for siblings in ([first, second], [second, first], [*others, first], [first, first]):
        assert score(runner, prefix, siblings)[siblings.index(first)] == pytest.approx(alone, abs=1e-4)


def test_several_texts_at_once_score_as_each_alone(any_qwen):
    """Texts of other lengths with other questions share a pass, whatever their prefixes have in common."""
    encode, branches = any_qwen.chat.encode, branches_of(any_qwen)
    texts = ["会议拖了两个小时", "会议拖了", "会议拖了两个小时，毫无进展。The meeting took two hours.", "Not in common"]
    prompts = [
        BranchedPrompt(tuple(encode(text)), tuple(branches[number:])) for number, text in enumerate([*texts, texts[0]])
    ]
    expected = [brute_force(any_qwen.local.model, each.prefix, each.branches) for each in prompts]
    for chosen in (slice(0, 3), slice(0, 5), slice(4, 1, -1)):
        found = ModelRunner(any_qwen.local.model, PrefixCache()).score(prompts[chosen])
        for scores, wanted in zip(found, expected[chosen], strict=True):
            assert_equal(scores, wanted)


def test_only_what_texts_have_in_common_is_kept(qwen):
    """Thousands of texts do not drive the persona out of the cache."""
    cache, branches = PrefixCache(), tuple(branches_of(qwen, OPTION_SETS[:1]))
    prompts = [BranchedPrompt((*range(20, 30), number, number), branches) for number in (40, 50, 60)]
    runner = ModelRunner(qwen.local.model, cache)
    runner.score(prompts, keep=False)
    runner.score(prompts, keep=False)
    assert (cache.statistics.entries, cache.statistics.reused_tokens) == (1, 10)


def test_one_by_one_scores_equal_brute_force(any_qwen):
    """The slow way of scoring is right as well."""
    prefix, branches = any_qwen.chat.encode(TEXT), branches_of(any_qwen)
    scores = ModelRunner(any_qwen.local.model, PrefixCache()).score_one_by_one(
        BranchedPrompt(tuple(prefix), tuple(branches))
    )
    assert_equal(scores, brute_force(any_qwen.local.model, prefix, branches))


@pytest.fixture
def first_layer(qwen) -> Qwen2ForCausalLM:
    """The first of its layers, with the embedding for an output layer."""
    config = copy.deepcopy(qwen.local.model.config)
    config.num_hidden_layers, config.layer_types, config.tie_word_embeddings = 1, ["full_attention"], True
    model = Qwen2ForCausalLM(config).eval()
    model.base_model.load_state_dict(qwen.local.model.base_model.state_dict(), strict=False)
    return model


def test_a_model_may_decide_after_its_first_layers(qwen, first_layer):
    """As a model of these layers alone would, in every way of scoring."""
    assert qwen.local.model.config.num_hidden_layers > 1
    prefix, branches = qwen.chat.encode(TEXT), branches_of(qwen)
    expected = brute_force(first_layer, prefix, branches)
    runner = ModelRunner(qwen.local.model, PrefixCache(), decision_layers=1)
    assert_equal(score(runner, prefix, branches), expected)
    assert_equal(score(runner, prefix, branches), expected)
    assert_equal(runner.score_one_by_one(BranchedPrompt(tuple(prefix), tuple(branches))), expected)
    prompts = [BranchedPrompt(tuple(text), tuple(branches)) for text in (prefix, prefix[2:])]
    for keep in (False, True):
        found = ModelRunner(qwen.local.model, PrefixCache(), decision_layers=1).score(prompts, keep=keep)
        assert_equal(found[0], expected)
        assert_equal(found[1], brute_force(first_layer, prefix[2:], branches))


def test_what_is_kept_of_decisions_was_read_by_all_layers(qwen):
    """So that a reply can go on from it."""
    prefix, branches = tuple(qwen.chat.encode(TEXT)), tuple(branches_of(qwen))
    alone, cache = PrefixCache(), PrefixCache()
    read(ModelRunner(qwen.local.model, alone), prefix)
    _, states = alone.longest(prefix)
    ModelRunner(qwen.local.model, cache, decision_layers=1).score(
        [BranchedPrompt(each, branches) for each in (prefix, prefix[2:])], keep=True
    )
    known, kept = cache.longest(prefix)
    assert known == len(prefix)
    assert len(kept) == len(states)
    for (keys, values), (expected_keys, expected_values) in zip(kept, states, strict=True):
        torch.testing.assert_close(keys, expected_keys)
        torch.testing.assert_close(values, expected_values)


@pytest.mark.skipif(not int8.available(), reason="torch has no int8 operators for this CPU")
def test_it_decides_with_its_embedding_in_16_bits_as_well(qwen, first_layer):
    """Which is what remains of it in int8."""
    model = copy.deepcopy(qwen.local.model)
    model.get_input_embeddings().half().float()
    model.lm_head.weight = torch.nn.Parameter(2 * model.lm_head.weight)
    narrow = int8.quantized(model, modules_to_not_convert=("",))
    assert isinstance(narrow.get_input_embeddings(), int8.HalfEmbedding)
    first_layer.load_state_dict({"model.embed_tokens.weight": model.get_input_embeddings().weight}, strict=False)
    prefix, branches = qwen.chat.encode(TEXT), branches_of(qwen)
    assert_equal(
        score(ModelRunner(narrow, PrefixCache(), decision_layers=1), prefix, branches),
        brute_force(first_layer, prefix, branches),
    )


def test_a_model_cannot_decide_after_layers_it_has_not(qwen, hybrid):
    """Nor can one whose layers are not all alike."""
    with pytest.raises(CapabilityError, match="decides after 99 layers; the model has 2"):
        ModelRunner(qwen.local.model, PrefixCache(), decision_layers=99)
    with pytest.raises(CapabilityError, match="needs layers of full attention only"):
        SharedQwen.from_model(hybrid.local.model, hybrid.local.tokenizer, capabilities=Capabilities(decision_layers=1))


def test_eager_attention_gives_the_same_scores(qwen):
    """Packed scores do not depend on the attention implementation."""
    model = Qwen2ForCausalLM._from_config(qwen.local.model.config, attn_implementation="eager").eval()
    model.load_state_dict(qwen.local.model.state_dict())
    prefix, branches = qwen.chat.encode(TEXT), branches_of(qwen)
    assert_equal(
        score(ModelRunner(model, PrefixCache()), prefix, branches), brute_force(qwen.local.model, prefix, branches)
    )


def test_hybrid_architectures_are_not_packed_and_score_alike(hybrid):
    """A model with linear-attention layers is recognised, and its scores equal brute force, read before or not."""
    prefix, branches = hybrid.chat.encode(TEXT), branches_of(hybrid)
    runner = ClonedRunner(hybrid.local.model, PrefixCache())
    assert not runner.packs
    expected = brute_force(hybrid.local.model, prefix, branches)
    for _ in range(3):
        assert_equal(score(runner, prefix, branches), expected)
    longer = [*prefix, *hybrid.chat.encode("并且天气很好")]
    assert_equal(score(runner, longer, branches), brute_force(hybrid.local.model, longer, branches))
    assert_equal(score(runner, (), branches[:2]), brute_force(hybrid.local.model, (), branches[:2]))


def test_leaves_of_a_hybrid_model_share_passes(hybrid, monkeypatch):
    """However many fit into one, the scores are the same."""
    prefix, branches = hybrid.chat.encode(TEXT), branches_of(hybrid)
    expected = score(ClonedRunner(hybrid.local.model, PrefixCache()), prefix, branches)
    for tokens in (1, 40, 100):
        monkeypatch.setattr(cloned_runner, "MAX_CLONED_TOKENS", tokens)
        assert_equal(score(ClonedRunner(hybrid.local.model, PrefixCache()), prefix, branches), expected)


def test_a_hybrid_model_reads_a_text_once(hybrid):
    """Decisions and the reply go on from one reading, a growing conversation from what came before."""
    cold = SharedQwen.from_model(hybrid.local.model, hybrid.local.tokenizer, prefix_cache=PrefixCache(0))
    decided, written = cold.decide(TEXT, QUESTIONS), cold.generate(TEXT, max_new_tokens=6, min_new_tokens=6)
    prefix = len(hybrid.chat.turns(laid_out(TEXT)))
    for turn in range(2):
        for name, decision in hybrid.decide(TEXT, QUESTIONS).items():
            assert close(decision.probabilities, decided[name].probabilities)
        assert hybrid.generate(TEXT, max_new_tokens=6, min_new_tokens=6) == written
        assert hybrid.local.prefix_cache.statistics.reused_tokens >= (2 * turn + 1) * prefix
    before = hybrid.local.prefix_cache.statistics.reused_tokens
    history = [Message("user", TEXT), Message("assistant", written.text)]
    again = hybrid.decide(ENGLISH, QUESTIONS, history=history)
    for name, decision in cold.decide(ENGLISH, QUESTIONS, history=history).items():
        assert close(decision.probabilities, again[name].probabilities)
    assert hybrid.local.prefix_cache.statistics.reused_tokens >= before
    assert cold.local.prefix_cache.statistics.reused_tokens == 0


def test_states_of_a_hybrid_model_count_in_bytes(hybrid):
    """The cache stays within its bound."""
    cache = PrefixCache()
    runner = ClonedRunner(hybrid.local.model, cache)
    texts = (TEXT, ENGLISH, TEXT + ENGLISH)
    for text in texts:
        score(runner, hybrid.chat.encode(text), branches_of(hybrid, OPTION_SETS[:1]))
    whole = cache.statistics
    cache.max_bytes = whole.bytes - 1
    assert (whole.entries, cache.statistics.entries) == (3, 2)
    assert 0 < cache.statistics.bytes < whole.bytes


def test_sliding_window_layers_are_not_packed(tokenizer):
    """A model whose layers see a window only is recognised from its configuration."""
    config = Qwen2Config(
        **SHAPE, vocab_size=len(tokenizer), use_sliding_window=True, sliding_window=8, max_window_layers=1
    )
    torch.manual_seed(23)
    model = Qwen2ForCausalLM(config).eval()
    qwen = SharedQwen.from_model(model, tokenizer)
    prefix, branches = qwen.chat.encode(TEXT), branches_of(qwen, OPTION_SETS[:1])
    runner = qwen.local.runner
    assert not runner.packs
    assert_equal(score(runner, prefix, branches), brute_force(model, prefix, branches))
