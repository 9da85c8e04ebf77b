"""The embedder's own vocabulary: lower-cased words, word pieces and Han characters."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, trainers
from tokenizers.models import BPE

from qwen_allinone.model.language import language_of

TOKENS = 8_500
SEEN = 20  # times a character must occur to be a token
ENGLISH = 2  # times that each English text counts, as there is little English

_WORDS = Regex(r"[\p{Latin}]+|[\u3400-\u9fff\uf900-\ufaff]+|[0-9]|[^\s]")
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
_LONG_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]{4}")


def train_tokenizer(texts: Sequence[str]) -> Tokenizer:
    """Train a BPE over Latin words, runs of Han characters and single other signs; the rest falls back to bytes.

    Every frequent character is a token, and so are the 3,755 most common Han characters whether seen or not. Han tokens
    have at most three characters: the longer they are, the more often a name is cut differently in two texts.
    """
    tokenizer = _empty(BPE())
    alphabet = _alphabet(tokenizer, texts)
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS + 2000,
        min_frequency=3,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        max_token_length=12,
        show_progress=False,
    )
    repeated = chain.from_iterable([text] * (ENGLISH if language_of(text) == "en" else 1) for text in texts)
    tokenizer.train_from_iterator(repeated, trainer)
    merges = [(left, right) for left, right in json.loads(tokenizer.to_str())["model"]["merges"]]
    merges = [merge for merge in merges if not _LONG_HAN.search("".join(merge))]
    merges = merges[: TOKENS - len(alphabet) - len(_BYTES)]
    tokens = dict.fromkeys([*alphabet, *map("".join, merges), *_BYTES])
    return _empty(BPE({token: number for number, token in enumerate(tokens)}, merges, byte_fallback=True))


def _empty(model: BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(_WORDS, "removed", invert=True)
    return tokenizer


def _alphabet(tokenizer: Tokenizer, texts: Sequence[str]) -> list[str]:
    written: Counter[str] = Counter()
    for text in texts:
        written.update(text)
    counts: Counter[str] = Counter()
    for sign, count in written.items():
        for part in tokenizer.normalizer.normalize_str(sign):
            counts[part] += count
    seen = {sign for sign, count in counts.items() if count >= SEEN and not sign.isspace()}
    return sorted(seen | set(_common_han()))


def _common_han() -> Iterator[str]:
    """Yield the characters of the first level of GB 2312, the ones in daily use."""
    for row in range(0xB0, 0xD8):
        for cell in range(0xA1, 0xFF):
            yield from bytes([row, cell]).decode("gb2312", "ignore")
