import copy

import pytest
import torch
from tiny_qwen import ENGLISH, QUESTIONS, SHAPE, close, laid_out, likelihood
from transformers import Qwen2Config, Qwen2ForCausalLM

from qwen_allinone.errors import CapabilityError, ModelBusyError
from qwen_allinone.model import Message, SharedQwen, int8
from qwen_allinone.model.engine.local.packing import Branch, Inquiry
from qwen_allinone.model.engine.local.prefix_cache import PrefixCache
from qwen_allinone.model.engine.local.runner import Scorer

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


def brute_force(model, prefix, branches) -> list[list[float]]:
    """Scores by one whole forward pass per leaf."""
    return [[likelihood(model, [*prefix, *branch.stem], leaf) for leaf in branch.leaves] for branch in branches]


def assert_equal(scores, expected) -> None:
    """Both hold the same scores in the same places."""
    assert [len(branch) for branch in scores] == [len(branch) for branch in expected]
    for branch, wanted in zip(scores, expected, strict=True):
        assert list(branch) == pytest.approx(list(wanted), rel=2e-5, abs=1e-4)


def test_packed_scores_equal_brute_force(any_qwen):
    """Options that share a beginning, contain one another or differ in length score as if each stood alone."""
    prefix, branches = any_qwen.chat.encode(TEXT), branches_of(any_qwen)
    scorer = Scorer(any_qwen.model, PrefixCache())
    assert scorer.packs
    assert_equal(scorer.score(prefix, branches), brute_force(any_qwen.model, prefix, branches))


def test_a_cached_prefix_changes_no_score(any_qwen):
    """Scores are the same whether nothing, a part, or all of the prefix was read before."""
    prefix, branches = any_qwen.chat.encode(TEXT), branches_of(any_qwen)
    expected = brute_force(any_qwen.model, prefix, branches)
    cache = PrefixCache()
    scorer = Scorer(any_qwen.model, cache)
    scorer.read(prefix[:7])
    assert_equal(scorer.score(prefix, branches), expected)
    assert cache.statistics.reused_tokens == 7
    assert_equal(scorer.score(prefix, branches), expected)
    assert cache.statistics.reused_tokens == 7 + len(prefix)
    assert_equal(scorer.score(prefix[:5], branches), brute_force(any_qwen.model, prefix[:5], branches))


def test_scores_without_a_prefix_equal_brute_force(any_qwen):
    """Questions that stand before their text (nothing shared) are scored alike."""
    branches = branches_of(any_qwen)
    assert_equal(Scorer(any_qwen.model, PrefixCache()).score([], branches), brute_force(any_qwen.model, [], branches))


def test_many_questions_at_once(qwen):
    """Forty questions in one pass score as they would one by one."""
    prefix, branches = qwen.chat.encode(TEXT), branches_of(qwen, [("yes", "no"), ("是", "否", "是否")] * 20)
    assert_equal(Scorer(qwen.local.model, PrefixCache()).score(prefix, branches), brute_force(qwen.local.model, prefix, branches))


def test_a_sibling_question_changes_no_score(any_qwen):
    """A question's scores do not depend on which questions are asked beside it, or where it stands among them."""
    prefix, (first, second, *others) = any_qwen.chat.encode(TEXT), branches_of(any_qwen)
    scorer = Scorer(any_qwen.model, PrefixCache())
    alone = scorer.score(prefix, [first])[0]
    for siblings in ([first, second], [second, first], [*others, first], [first, first]):
        assert scorer.score(prefix, siblings)[siblings.index(first)] == pytest.approx(alone, abs=1e-4)


def test_several_texts_at_once_score_as_each_alone(any_qwen):
    """Texts of other lengths with other questions share a pass, whatever their prefixes have in common."""
    encode, branches = any_qwen.chat.encode, branches_of(any_qwen)
    texts = ["会议拖了两个小时", "会议拖了", "会议拖了两个小时，毫无进展。The meeting took two hours.", "Not in common"]
    inquiries = [
        Inquiry(tuple(encode(text)), tuple(branches[number:])) for number, text in enumerate([*texts, texts[0]])
    ]
    expected = [brute_force(any_qwen.model, each.prefix, each.branches) for each in inquiries]
    for chosen in (slice(0, 3), slice(0, 5), slice(4, 1, -1)):
        found = Scorer(any_qwen.model, PrefixCache()).score_all(inquiries[chosen])
        for scores, wanted in zip(found, expected[chosen], strict=True):
            assert_equal(scores, wanted)


def test_only_what_texts_have_in_common_is_kept(qwen):
    """Thousands of texts do not drive the persona out of the cache."""
    cache, branches = PrefixCache(), tuple(branches_of(qwen, OPTION_SETS[:1]))
    inquiries = [Inquiry((*range(20, 30), number, number), branches) for number in (40, 50, 60)]
    scorer = Scorer(qwen.local.model, cache)
    scorer.score_all(inquiries)
    scorer.score_all(inquiries)
    assert (cache.statistics.entries, cache.statistics.reused_tokens) == (1, 10)


def test_one_by_one_scores_equal_brute_force(any_qwen):
    """The slow way of scoring is right as well."""
    prefix, branches = any_qwen.chat.encode(TEXT), branches_of(any_qwen)
    scores = Scorer(any_qwen.model, PrefixCache()).score_one_by_one(prefix, branches)
    assert_equal(scores, brute_force(any_qwen.model, prefix, branches))


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
    scorer = Scorer(qwen.local.model, PrefixCache(), layers=1)
    assert_equal(scorer.score(prefix, branches), expected)
    assert_equal(scorer.score(prefix, branches), expected)
    assert_equal(scorer.score_one_by_one(prefix, branches), expected)
    inquiries = [Inquiry(tuple(text), tuple(branches)) for text in (prefix, prefix[2:])]
    for keep in (False, True):
        found = Scorer(qwen.local.model, PrefixCache(), layers=1).score_all(inquiries, keep=keep)
        assert_equal(found[0], expected)
        assert_equal(found[1], brute_force(first_layer, prefix[2:], branches))


def test_what_is_kept_of_decisions_was_read_by_all_layers(qwen):
    """So that a reply can go on from it."""
    prefix, branches = tuple(qwen.chat.encode(TEXT)), tuple(branches_of(qwen))
    read = Scorer(qwen.local.model, PrefixCache()).read(prefix)
    cache = PrefixCache()
    Scorer(qwen.local.model, cache, layers=1).score_all([Inquiry(each, branches) for each in (prefix, prefix[2:])], keep=True)
    known, kept = cache.longest(prefix)
    assert known == len(prefix)
    assert len(kept) == len(read)
    for (keys, values), (expected_keys, expected_values) in zip(kept, read, strict=True):
        torch.testing.assert_close(keys, expected_keys)
        torch.testing.assert_close(values, expected_values)


@pytest.mark.skipif(not int8.available(), reason="torch has no int8 operators for this CPU")
def test_it_decides_with_its_embedding_in_16_bits_as_well(qwen, first_layer):
    """Which is what remains of it in int8."""
    model = copy.deepcopy(qwen.local.model)
    model.get_input_embeddings().half().float()
    model.lm_head.weight = torch.nn.Parameter(2 * model.lm_head.weight)
    narrow = int8.quantised(model, stays=lambda _: True)
    assert isinstance(narrow.get_input_embeddings(), int8.HalfEmbedding)
    first_layer.load_state_dict({"model.embed_tokens.weight": model.get_input_embeddings().weight}, strict=False)
    prefix, branches = qwen.chat.encode(TEXT), branches_of(qwen)
    assert_equal(
        Scorer(narrow, PrefixCache(), layers=1).score(prefix, branches), brute_force(first_layer, prefix, branches)
    )


def test_a_model_cannot_decide_after_layers_it_has_not(qwen, hybrid):
    """Nor can one whose layers are not all alike."""
    for model, layers in ((qwen.local.model, 99), (hybrid.model, 1)):
        with pytest.raises(CapabilityError, match="cannot decide after"):
            Scorer(model, PrefixCache(), layers=layers)


def test_eager_attention_gives_the_same_scores(qwen):
    """Packed scores do not depend on the attention implementation."""
    model = Qwen2ForCausalLM._from_config(qwen.local.model.config, attn_implementation="eager").eval()
    model.load_state_dict(qwen.local.model.state_dict())
    prefix, branches = qwen.chat.encode(TEXT), branches_of(qwen)
    assert_equal(Scorer(model, PrefixCache()).score(prefix, branches), brute_force(qwen.local.model, prefix, branches))


def test_hybrid_architectures_are_not_packed_and_score_alike(hybrid):
    """A model with linear-attention layers is recognised, and its scores equal brute force, read before or not."""
    prefix, branches = hybrid.chat.encode(TEXT), branches_of(hybrid)
    scorer = Scorer(hybrid.model, PrefixCache())
    assert not scorer.packs
    expected = brute_force(hybrid.model, prefix, branches)
    for _ in range(3):
        assert_equal(scorer.score(prefix, branches), expected)
    longer = [*prefix, *hybrid.chat.encode("并且天气很好")]
    assert_equal(scorer.score(longer, branches), brute_force(hybrid.model, longer, branches))
    assert_equal(scorer.score((), branches[:2]), brute_force(hybrid.model, (), branches[:2]))


def test_leaves_of_a_hybrid_model_share_passes(hybrid, monkeypatch):
    """However many fit into one, the scores are the same."""
    prefix, branches = hybrid.chat.encode(TEXT), branches_of(hybrid)
    expected = Scorer(hybrid.model, PrefixCache()).score(prefix, branches)
    for tokens in (1, 40, 100):
        monkeypatch.setattr("qwen_allinone.model.scorer._CLONED_TOKENS", tokens)
        assert_equal(Scorer(hybrid.model, PrefixCache()).score(prefix, branches), expected)


def test_a_hybrid_model_reads_a_text_once(hybrid):
    """Decisions and the reply go on from one reading, a growing conversation from what came before."""
    cold = SharedQwen.from_model(hybrid.model, hybrid.tokenizer, cache=PrefixCache(0))
    decided, written = cold.decide(TEXT, QUESTIONS), cold.generate(TEXT, max_new_tokens=6, min_new_tokens=6)
    prefix = len(hybrid.chat.turns(laid_out(TEXT)))
    for turn in range(2):
        for name, decision in hybrid.decide(TEXT, QUESTIONS).items():
            assert close(decision.probabilities, decided[name].probabilities)
        assert hybrid.generate(TEXT, max_new_tokens=6, min_new_tokens=6) == written
        assert hybrid.cache_statistics.reused_tokens >= (2 * turn + 1) * prefix
    before = hybrid.cache_statistics.reused_tokens
    history = [Message("user", TEXT), Message("assistant", written.text)]
    again = hybrid.decide(ENGLISH, QUESTIONS, history=history)
    for name, decision in cold.decide(ENGLISH, QUESTIONS, history=history).items():
        assert close(decision.probabilities, again[name].probabilities)
    assert hybrid.cache_statistics.reused_tokens >= before
    assert cold.cache_statistics.reused_tokens == 0


def test_no_more_than_some_replies_of_a_hybrid_model_wait(tokenizer, hybrid, monkeypatch):
    """One more is refused at once; when one has ended there is room again."""
    monkeypatch.setattr("qwen_allinone.model.writer.MOST_WAITING", 1)
    few = SharedQwen.from_model(hybrid.model, tokenizer)
    first = few.stream(TEXT, max_new_tokens=200, min_new_tokens=200)
    next(first)
    with pytest.raises(ModelBusyError):
        few.generate(TEXT, max_new_tokens=2)
    first.close()
    assert few.generate(TEXT, max_new_tokens=2, min_new_tokens=2).completion_tokens == 2


def test_states_of_a_hybrid_model_count_in_bytes(hybrid):
    """The cache stays within its bound."""
    cache = PrefixCache()
    scorer = Scorer(hybrid.model, cache)
    texts = (TEXT, ENGLISH, TEXT + ENGLISH)
    for text in texts:
        scorer.score(hybrid.chat.encode(text), branches_of(hybrid, OPTION_SETS[:1]))
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
    scorer = Scorer(model, PrefixCache())
    assert not scorer.packs
    assert_equal(scorer.score(prefix, branches), brute_force(model, prefix, branches))
