import numpy as np
import pytest
import torch

from qwen_allinone.model import Features, SharedQwen
from qwen_allinone.model.engine.local.prefix_cache import PrefixCache, as_dynamic_cache
from qwen_allinone.model.engine.local.runner import ModelRunner


def states(length: int, value: float = 1.0):
    """One layer, one head, two numbers a token: sixteen bytes for every token."""
    return ((torch.full((1, 1, length, 2), value), torch.full((1, 1, length, 2), value)),)


def bytes_of(length: int) -> int:
    """What the states of so many tokens take."""
    return 16 * length


@torch.inference_mode()
def read(runner: ModelRunner, ids: list[int]) -> None:
    """Read a prefix, and keep it."""
    runner.read([tuple(ids)], [(len(ids) - 1, len(ids))], layers=(1,))


def test_nothing_is_found_in_an_empty_cache():
    """A miss is zero tokens and no states, and is counted."""
    cache = PrefixCache()
    assert cache.longest([1, 2]) == (0, None)
    assert (cache.statistics.hits, cache.statistics.misses) == (0, 1)


def test_the_longest_stored_prefix_is_found():
    """Of several stored prefixes the one that shares most tokens is returned, cut to what is shared."""
    cache = PrefixCache()
    cache.store([1, 2], states(2, 2))
    cache.store([1, 2, 3, 4], states(4, 4))
    cache.store([7, 8, 9], states(3, 3))
    length, found = cache.longest([1, 2, 3, 5, 6])
    assert length == 3
    assert found[0][0].shape == (1, 1, 3, 2)
    assert float(found[0][1][0, 0, 0, 0]) == 4
    assert cache.longest([2, 1]) == (0, None)
    assert cache.statistics.reused_tokens == 3


def test_the_bound_in_bytes_holds():
    """The cache never holds more than its bound, and says how much it holds."""
    cache = PrefixCache(bytes_of(10))
    for start in range(6):
        cache.store([start, 0, 0, 0], states(4))
        assert cache.statistics.bytes <= bytes_of(10)
    assert cache.statistics.entries == 2
    assert cache.statistics.bytes == bytes_of(8)


def test_the_least_recently_used_goes_first():
    """What was found recently stays; what nobody asked for is dropped."""
    cache = PrefixCache(bytes_of(8))
    cache.store([1, 1, 1, 1], states(4))
    cache.store([2, 2, 2, 2], states(4))
    assert cache.longest([1, 1, 1, 1])[0] == 4
    cache.store([3, 3, 3, 3], states(4))
    assert [cache.longest([token] * 4)[0] for token in (1, 2, 3)] == [4, 0, 4]


@pytest.mark.parametrize("bound", [0, bytes_of(3)])
def test_what_does_not_fit_is_not_stored(bound):
    """A cache of zero bytes stores nothing, and neither does one that is smaller than the states."""
    cache = PrefixCache(bound)
    cache.store([1, 2, 3, 4], states(4))
    assert cache.longest([1, 2, 3, 4]) == (0, None)
    assert (cache.statistics.entries, cache.statistics.bytes) == (0, 0)


def test_storing_twice_counts_once():
    """The same prefix stored again takes no more room."""
    cache = PrefixCache()
    cache.store([1, 2], states(2))
    cache.store([1, 2], states(2))
    assert (cache.statistics.entries, cache.statistics.bytes) == (1, bytes_of(2))


def test_clearing_forgets_everything():
    """After clearing nothing is found and nothing is held."""
    cache = PrefixCache()
    cache.store([1, 2], states(2))
    cache.clear()
    assert cache.longest([1, 2]) == (0, None)
    assert (cache.statistics.entries, cache.statistics.bytes) == (0, 0)


def test_continuing_leaves_stored_states_as_they_were(qwen):
    """Reading on and writing from stored states changes none of them."""
    cache = PrefixCache()
    runner = ModelRunner(qwen.local.model, cache)
    prefix = qwen.chat.encode("今天的实验终于成功了")
    read(runner, prefix)
    _, stored = cache.longest(prefix)
    before = [tensor.clone() for pair in stored for tensor in pair]
    read(runner, [*prefix, *qwen.chat.encode("，大家都很高兴")])
    continued = as_dynamic_cache(stored)
    with torch.no_grad():
        qwen.local.model(input_ids=torch.tensor([[5, 6, 7]]), cache=continued)
    continued.layers[0].keys.fill_(3.0)
    _, after = cache.longest(prefix)
    assert all(
        torch.equal(old, new) for old, new in zip(before, (each for pair in after for each in pair), strict=True)
    )


def test_logits_with_and_without_cached_states_are_equal(any_qwen):
    """Continuing from stored states gives the logits of reading everything at once."""
    ids = any_qwen.chat.encode("The experiment finally worked. 今天的实验终于成功了！")
    cache = PrefixCache()
    runner = ModelRunner(any_qwen.local.model, cache)
    read(runner, ids[:6])
    read(runner, ids[:12])
    with torch.no_grad():
        whole = any_qwen.local.model(input_ids=torch.tensor([ids]), use_cache=False).logits[:, 12:]
        past = as_dynamic_cache(cache.longest(ids[:12])[1])
        continued = any_qwen.local.model(input_ids=torch.tensor([ids[12:]]), cache=past).logits
    assert torch.allclose(whole, continued, atol=1e-4)


def test_greedy_replies_with_and_without_cache_are_equal(any_qwen):
    """A reply is the same whether its prompt was read before or not."""
    cold = SharedQwen.from_model(any_qwen.local.model, any_qwen.local.tokenizer, prefix_cache=PrefixCache(0))
    warm = SharedQwen.from_model(any_qwen.local.model, any_qwen.local.tokenizer, prefix_cache=PrefixCache())
    for _ in range(2):
        assert warm.generate("今天的实验终于成功了", max_new_tokens=12) == cold.generate(
            "今天的实验终于成功了", max_new_tokens=12
        )
    assert cold.local.prefix_cache.statistics.reused_tokens == 0
    assert warm.local.prefix_cache.statistics.reused_tokens > 0


def test_a_longer_reading_takes_the_place_of_those_it_goes_on_from():
    """A conversation is kept once, not once per turn; what is cut from it is what was there."""
    cache = PrefixCache()
    cache.store([9, 9], states(2))
    cache.store([1, 2], states(2))
    cache.store([1, 2, 3], states(3))
    cache.store([1, 2, 3, 4, 5], states(5))
    assert (cache.statistics.entries, cache.statistics.bytes) == (2, bytes_of(7))
    cache.store([1, 2, 3], states(3))
    assert cache.statistics.entries == 2
    assert cache.holds([1, 2, 3]) and cache.holds([9]) and not cache.holds([1, 3])
    length, found = cache.longest([1, 2, 7])
    assert (length, found[0][0].shape[2]) == (2, 2)


def test_features_live_as_long_as_their_prefix():
    """They are found for exactly their tokens and layer, also within a longer reading, and go with it."""
    cache, features = PrefixCache(bytes_of(8)), Features(np.ones(2, np.float32), np.zeros(2, np.float32))
    cache.store_reading([1, 2], {1: features})
    assert cache.reading([1, 2], [1]) is None
    cache.store([1, 2], states(2))
    cache.store_reading([1, 2], {1: features})
    cache.store([1, 2, 3, 4], states(4))
    assert cache.reading([1, 2], [1]) == {1: features}
    assert cache.reading([1, 2], [1, 2]) is None
    assert cache.reading([1, 2, 3], [1]) is None
    cache.store([5, 6, 7, 8, 9], states(5))
    assert cache.reading([1, 2], [1]) is None


def test_what_was_begun_before_a_clear_is_not_stored_after_it():
    """It may come from other weights."""
    cache = PrefixCache()
    begun = cache.clears
    cache.clear()
    cache.store([1, 2], states(2), begun=begun)
    assert not cache.holds([1, 2])
    cache.store([1, 2], states(2), begun=cache.clears)
    assert cache.holds([1, 2])
