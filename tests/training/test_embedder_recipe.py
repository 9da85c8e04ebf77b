import random

from training.embedder.pairs import spans
from training.embedder.retrieval_data import DICTIONARY, drawn_pairs
from training.embedder.tokenizer import train_tokenizer


def test_every_character_has_tokens():
    """Common Han characters are tokens even where no text holds them; a rare one is its bytes."""
    tokenizer = train_tokenizer(["你好，世界。Hello world."] * 5)
    assert tokenizer.encode("鹏", add_special_tokens=False).tokens == ["鹏"]
    assert tokenizer.encode("龘", add_special_tokens=False).tokens == ["<0xE9>", "<0xBE>", "<0x98>"]


def test_han_tokens_are_short():
    """However often a run of Han characters occurs, no token holds more than three; Latin words are whole."""
    tokenizer = train_tokenizer(["中华人民共和国 something"] * 50)
    tokens = tokenizer.encode("中华人民共和国 Something", add_special_tokens=False).tokens
    assert tokens[-1] == "something"
    assert max(map(len, tokens[:-1])) <= 3


def test_held_out_texts_are_in_no_pair():
    """A pair that shares a text with a held-out one is not learned from."""
    rows = [{"text": f"a{i % 7}", "text2": f"b{i % 5}", "label": str(i % 2)} for i in range(35)]
    learned, held_out = drawn_pairs(rows, 2, random.Random(0))
    assert learned
    assert len(held_out) == 2
    for row in held_out:
        assert not [each for each in learned if {each["text"], each["text2"]} & {row["text"], row["text2"]}]


def test_spans_come_from_their_text():
    """A span of one text never points to another."""
    pairs = spans(["春眠不觉晓处处闻啼鸟", "the quick brown fox jumps over the lazy dog"], random.Random(0), 20)
    assert len(pairs) == 40
    assert all(pair.right == pair.group for pair in pairs)


def test_dictionary_is_word_to_word():
    """Every line of the dictionary is a Chinese and a lower-case English word, once."""
    lines = DICTIONARY.read_text("utf-8").splitlines()
    assert len(set(lines)) == len(lines)
    for line in lines:
        chinese, english = line.split("\t")
        assert not chinese.isascii()
        assert english.isascii() and english.islower() and " " not in english
