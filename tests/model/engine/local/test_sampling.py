import copy
import math
import random

import pytest
import torch
from tiny_qwen import REPLIES, laid_out
from transformers import GenerationConfig, MinLengthLogitsProcessor

from qwen_allinone.errors import InputError, TextTooLongError
from qwen_allinone.model import Message, SamplingParams, SharedQwen
from qwen_allinone.model.engine.local.sampler import logits_processors
from qwen_allinone.model.engine.stream import Repetition, StopTexts

ZH, EN = REPLIES
ANSWER = REPLIES[ZH]


# Stop texts


@pytest.mark.parametrize(
    ("stop", "left"),
    [
        (["恭喜"], "太好了🎉，"),
        (["🎉"], "太好了"),
        (["\u200d"], "太好了🎉，恭喜你们👩"),
        (["你们👩‍🔬！"], "太好了🎉，恭喜"),
        (["太"], ""),
        (["太好了🎉，恭喜你们👩‍🔬！"], ""),
        (["！"], "太好了🎉，恭喜你们👩‍🔬"),
        (["你们", "好了"], "太"),
        (["好了", "你们"], "太"),
        (["没有的", "恭喜"], "太好了🎉，"),
        (["恭喜他", "喜你"], "太好了🎉，恭"),
    ],
)
def test_a_reply_ends_before_the_first_stop_text(trained, stop, left):
    """Stop texts end a reply, also when they are split over tokens, and are not part of it."""
    reply = trained.generate(ZH, stop=stop)
    assert (reply.text, reply.finish_reason) == (left, "stop")
    assert "".join(trained.stream(ZH, stop=stop)) == left


@pytest.mark.parametrize("stop", [[], ["太好啊"], ["恭喜他们"], ["！！"], [f"{ANSWER}和"], ["🎊"], ["\n"]])
def test_what_only_begins_like_a_stop_text_stays(trained, stop):
    """A partial match is held back and then passed on; nothing is lost at the end."""
    reply = trained.generate(ZH, stop=stop)
    assert (reply.text, reply.finish_reason) == (ANSWER, "stop")


@pytest.mark.parametrize("seed", range(20))
def test_a_stop_text_is_found_wherever_the_pieces_are_split(seed):
    """However a text is cut into pieces, what passes is the text before the stop text."""
    chance = random.Random(seed)
    for _ in range(50):
        text = "".join(chance.choices("ab", k=12))
        stop = "".join(chance.choices("ab", k=chance.randint(1, 5)))
        cuts = sorted(chance.sample(range(1, 12), k=chance.randint(0, 8)))
        pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, 12], strict=True)]
        stops = StopTexts([stop])
        passed = list(stops.cut(iter(pieces)))
        assert "".join(passed) == text.partition(stop)[0]
        assert stops.found == (stop in text)
        assert all(passed)


# Lengths and ends


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_max_new_tokens_bounds_a_reply(trained, limit):
    """A reply has no more tokens than asked for, and says that its length ended it."""
    reply = trained.generate(EN, max_new_tokens=limit)
    assert (reply.completion_tokens, reply.finish_reason) == (limit, "length")
    assert REPLIES[EN].startswith(reply.text)


def test_a_reply_that_ends_at_the_last_token_has_stopped(trained):
    """If the closing token is the last that fits, the model ended the reply and not its length."""
    tokens = len(trained.chat.encode(REPLIES[EN])) + 1
    assert trained.generate(EN, max_new_tokens=tokens).finish_reason == "stop"
    assert trained.generate(EN, max_new_tokens=tokens - 1).finish_reason == "length"


def test_min_new_tokens_makes_a_reply_longer(trained):
    """The model may not end its reply before the minimum."""
    natural = trained.generate(EN).completion_tokens
    reply = trained.generate(EN, min_new_tokens=natural + 10, max_new_tokens=natural + 20)
    assert natural + 10 <= reply.completion_tokens <= natural + 20
    assert reply.text.startswith(REPLIES[EN])


def test_token_counts_are_real(trained):
    """The reply counts the tokens of its prompt, and its own with the closing one."""
    reply = trained.generate(ZH)
    assert reply.prompt_tokens == len(trained.chat.turns(laid_out(ZH)) + trained.chat.opening())
    assert reply.completion_tokens == len(trained.chat.encode(ANSWER)) + 1


def test_the_window_ends_a_reply(qwen):
    """A reply ends where the context window does, whatever was asked for."""
    text = "字 " * 150
    reply = qwen.generate(text, max_new_tokens=5000, min_new_tokens=10)
    assert reply.prompt_tokens + reply.completion_tokens <= qwen.context_window
    if reply.finish_reason == "length":
        assert reply.prompt_tokens + reply.completion_tokens == qwen.context_window


def test_a_prompt_that_leaves_no_room_is_refused(qwen):
    """A prompt as long as the window, or too long for the minimum asked for, is refused with both figures."""
    with pytest.raises(TextTooLongError, match=r"has \d+ tokens, the model's context window 1024"):
        qwen.stream("字" * 1024)
    with pytest.raises(TextTooLongError):
        qwen.stream("好", min_new_tokens=1000, max_new_tokens=1000)


def test_the_last_free_position_can_be_written(qwen):
    """A prompt that leaves room for one token gets one."""
    room = qwen.context_window - 1
    filler = qwen.chat.encode(" a")
    assert len(filler) == 1
    fixed = len(qwen.chat.turns([Message("user", "")]) + qwen.chat.opening())
    with qwen.stream_messages([Message("user", " a" * (room - fixed))]) as stream:
        list(stream)
    assert (stream.reply.prompt_tokens, stream.reply.completion_tokens) == (room, 1)


@pytest.mark.parametrize("closing", ["<|im_end|>", "<|endoftext|>"])
def test_both_closing_tokens_end_a_reply(trained, tokenizer, closing):
    """A model that closes its replies with either token is stopped by it."""
    model = copy.deepcopy(trained.local.model)
    rows = [trained.chat.end_of_turn, tokenizer.convert_tokens_to_ids(closing)]
    model.lm_head.weight.data[rows] = model.lm_head.weight.data[rows[::-1]]
    reply = SharedQwen.from_model(model, tokenizer).generate(ZH)
    assert (reply.text, reply.finish_reason) == (ANSWER, "stop")


def test_a_models_own_generation_config_is_not_obeyed(trained, tokenizer):
    """Whatever its folder says about ends, lengths and sampling, a model replies as it is asked to."""
    model = copy.deepcopy(trained.local.model)
    model.generation_config = GenerationConfig(
        eos_token_id=trained.chat.encode("好")[:1],
        max_length=3,
        do_sample=True,
        temperature=9.0,
        top_k=3,
        repetition_penalty=5.0,
        suppress_tokens=trained.chat.encode("太"),
    )
    assert SharedQwen.from_model(model, tokenizer).generate(ZH) == trained.generate(ZH)


def test_greedy_replies_are_those_of_generate(any_qwen):
    """Without a temperature a reply is what transformers' own greedy search gives."""
    prompt = any_qwen.chat.turns(laid_out(ZH)) + any_qwen.chat.opening()
    expected = any_qwen.local.model.generate(input_ids=torch.tensor([prompt]), max_new_tokens=16, do_sample=False)
    ids = expected[0, len(prompt) :].tolist()
    reply = any_qwen.generate(ZH, max_new_tokens=16)
    assert (reply.text, reply.completion_tokens) == (any_qwen.chat.decode(ids), len(ids))


def test_repetition_penalty_is_applied(qwen):
    """A strong penalty changes a greedy reply."""
    plain = qwen.generate(ZH, max_new_tokens=16)
    assert qwen.generate(ZH, max_new_tokens=16, repetition_penalty=3.0).text != plain.text


def test_repetition_penalty_leaves_the_prompt_alone(qwen):
    """A word of the prompt may be taken up once; only what the reply itself has said becomes less likely."""
    favourite, second = qwen.chat.encode(ZH)[0], qwen.chat.encode("!")[0]

    def prefer(_, __, logits):
        logits[..., favourite], logits[..., second] = 100.0, 60.0
        return logits

    hook = qwen.local.model.lm_head.register_forward_hook(prefer)
    try:
        reply = qwen.generate(ZH, max_new_tokens=2, repetition_penalty=3.0)
    finally:
        hook.remove()
    assert reply.text == qwen.chat.decode([favourite, second])


# Sampling


def test_seeds_repeat(qwen):
    """The same seed gives the same reply, other seeds give others, and none of them is the greedy one."""
    options = {"temperature": 1.5, "max_new_tokens": 12}
    replies = [qwen.generate(ZH, seed=seed, **options).text for seed in (1, 1, 2, 3)]
    assert replies[0] == replies[1]
    assert len({*replies, qwen.generate(ZH, max_new_tokens=12).text}) == 4


def test_seeds_leave_the_global_random_numbers_alone(qwen):
    """Seeded writing neither uses nor changes the random state of the process."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = qwen.generate(ZH, temperature=1.0, seed=1, max_new_tokens=4)
    assert torch.equal(torch.rand(3), expected)
    torch.rand(7)
    assert qwen.generate(ZH, temperature=1.0, seed=1, max_new_tokens=4) == first


def test_greedy_writing_uses_no_random_numbers(qwen):
    """Without a temperature no random number is drawn."""
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    qwen.generate(ZH, max_new_tokens=4)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_from_the_whole_distribution(qwen, temperature):
    """At any temperature a token is drawn from the model's own softmax: nothing is cut off unasked."""
    prompt = qwen.chat.turns(laid_out(ZH)) + qwen.chat.opening()
    with torch.no_grad():
        logits = qwen.local.model(input_ids=torch.tensor([prompt])).logits[0, -1]
    for seed in range(20):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            drawn = torch.multinomial(torch.softmax(logits / temperature, dim=-1), 1)
        reply = qwen.generate(ZH, temperature=temperature, seed=seed, max_new_tokens=1)
        assert reply.text == qwen.chat.decode(drawn.tolist())


def test_a_tiny_top_p_is_greedy(qwen):
    """Sampling from next to no probability mass leaves the best token only."""
    greedy = qwen.generate(ZH, max_new_tokens=8)
    assert qwen.generate(ZH, max_new_tokens=8, temperature=1.0, top_p=1e-6, seed=3) == greedy


# Options


@pytest.mark.parametrize(
    "options",
    [
        {"max_new_tokens": 0},
        {"max_new_tokens": -1},
        {"min_new_tokens": -1},
        {"min_new_tokens": 300},
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_p": math.nan},
        {"repetition_penalty": 0.0},
        {"repetition_penalty": math.nan},
        {"repetition_penalty": math.inf},
        {"stop": "。"},
        {"stop": [""]},
        {"max_repeats": 0},
    ],
)
def test_values_that_make_no_sense_are_refused(qwen, options):
    """Values out of range are refused before anything runs, with one line that says what is allowed."""
    with pytest.raises(InputError) as caught:
        qwen.stream(ZH, **options)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError):
        SamplingParams(**options)


def test_misspelt_options_are_errors(qwen):
    """An option that does not exist is named."""
    with pytest.raises(TypeError, match="max_new_token'"):
        qwen.generate(ZH, max_new_token=3)
    with pytest.raises(TypeError, match="top_k"):
        qwen.stream(ZH, top_k=3)


def test_no_reply_ends_too_early_by_the_rule_of_generate(qwen):
    """The scores are those that its processor gives, before and after the shortest length."""
    ours = logits_processors(SamplingParams(min_new_tokens=3), qwen.chat.stop_ids)
    theirs = MinLengthLogitsProcessor(3, list(qwen.chat.stop_ids))
    for length in range(5):
        written, scores = torch.zeros(1, length, dtype=torch.long), torch.randn(1, len(qwen.local.tokenizer))
        kept = scores.clone()
        assert torch.equal(ours(written, scores), theirs(written, scores))
        assert torch.equal(scores, kept)


# Repetition


@pytest.mark.parametrize(
    ("pieces", "left"),
    [
        (["a", "b", "b", "b", "b", "c"], "abbb"),
        (["0"] * 20, "000"),
        (["x", *["ab", "c"] * 4, "y"], "xabcabcabcab"),
        ([*["1", "2", "3", "4"] * 4, "5"], "123412341234123"),
        ([*["1", "2", "3", "4", "5"] * 4, "6"], "12345" * 4 + "6"),
        (["b", "b", "b", "c", "b", "b", "b"], "bbbcbbb"),
        ([], ""),
    ],
)
def test_a_reply_ends_when_a_piece_comes_once_too_often(pieces, left):
    """One piece or a run of up to four may come three times in a row; what is longer, or comes apart, may go on."""
    repetition = Repetition(3)
    assert "".join(repetition.cut(iter(pieces))) == left
    assert repetition.found == (left != "".join(pieces))


def test_a_reply_may_repeat_itself_unless_it_is_bounded(qwen):
    """A model that can only say one thing says it to the end, or three times."""
    favourite = qwen.chat.encode("!")[0]

    def prefer(_, __, logits):
        logits[..., favourite] = 100.0
        return logits

    hook = qwen.local.model.lm_head.register_forward_hook(prefer)
    try:
        whole = qwen.generate(ZH, max_new_tokens=20)
        bounded = qwen.generate(ZH, max_new_tokens=20, max_repeats=3)
    finally:
        hook.remove()
    assert (whole.text, whole.finish_reason) == ("!" * 20, "length")
    assert (bounded.text, bounded.finish_reason) == ("!!!", "stop")
