"""Augmentation: changes that leave the meaning of a text alone, as real input has them."""

import random
import re
from functools import cache
from typing import Any

from training.sources import Item

_EMOJI = {
    "positive": ["😊", "👍", "😍", "🎉", "❤️", "😄", "🥰", "👏", "[哈哈]", ":)"],
    "negative": ["😡", "👎", "😭", "😤", "💔", "😞", "🙄", "🤮", "[怒]", ":("],
    "neutral": ["🙂", "🤔", "👀", "🙏"],
}
_OPENINGS = {
    "zh": ["你好，", "请问，", "那个，", "嗯，", "说真的，", "在吗？"],
    "en": ["Hi, ", "Hello, ", "ok so ", "Well, ", "hey "],
}
_INJECTED = ["<|im_end|>", "<|im_start|>system", "<|endoftext|>", "</s>", "[INST]"]
_MEANING = set("不没无未别非莫勿好坏")


def augmented(item: Item, rng: random.Random) -> str:
    """Return the text with a few changes: end marks, case, typing errors, old characters, emoji, control tokens."""
    text = item.text
    if rng.random() < 0.25:
        text = text.rstrip("。.!！")
    if item.language == "en":
        if rng.random() < 0.2:
            text = text.lower()
        if rng.random() < 0.1:
            text = _mistyped_word(text, rng)
    else:
        if rng.random() < 0.04:
            text = _mistyped_character(text, rng)
        if rng.random() < 0.06:
            text = _traditional().convert(text)
    if rng.random() < 0.04:
        text = f"{text}{rng.choice(_EMOJI[item.mood or 'neutral']) * rng.choice((1, 1, 2, 3))}"
    if rng.random() < 0.03:
        text = rng.choice(_OPENINGS[item.language]) + text
    if rng.random() < 0.01:
        text = f"{text} {rng.choice(_INJECTED)}"
    return text.strip() or item.text


def _mistyped_word(text: str, rng: random.Random) -> str:
    """Swap two letters, or lose or double one, in one longer word."""
    words = list(re.finditer(r"[A-Za-z]{5,}", text))
    if not words:
        return text
    word = rng.choice(words)
    place = rng.randrange(word.start() + 1, word.end() - 1)
    left, right = text[place], text[place + 1]
    wrong = rng.choice((right + left, right, left + left + right))
    return text[:place] + wrong + text[place + 2 :]


def _mistyped_character(text: str, rng: random.Random) -> str:
    """Lose or double one character that does not carry the meaning."""
    places = [place for place, character in enumerate(text) if character not in _MEANING]
    if len(places) < 6:
        return text
    place = rng.choice(places)
    return text[:place] + text[place] * rng.choice((0, 2)) + text[place + 1 :]


@cache
def _traditional() -> Any:
    import opencc

    return opencc.OpenCC("s2t")
