"""Every engine reads the same prompt and writes as many tokens; what is not installed is said and left out."""

import json
import sys
from itertools import count
from pathlib import Path
from types import ModuleType

import pytest
import torch

from benchmarks import decode
from benchmarks.decode import length_normalized, main


class _Llama:
    """Stands for llama.cpp, and remembers what was asked of it."""

    made: "list[_Llama]" = []  # noqa: RUF012

    def __init__(self, *_: object, **options: object) -> None:
        self.options, self.resets, self.prompts, self.written = options, 0, [], 0
        self.made.append(self)

    def reset(self) -> None:
        self.resets += 1

    def generate(self, ids, *, temp):
        assert temp == 0
        self.prompts.append(ids)
        for token in count():
            self.written += 1
            yield token


@pytest.fixture
def measure(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Measures the tiny model with replies of three tokens and a file for llama.cpp; gives the result."""
    monkeypatch.setenv("QWEN_ALLINONE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(decode, "REPLY_TOKENS", 3)
    monkeypatch.setattr(decode, "TEXT", "What a day!")
    gguf = tmp_path / "model-q8_0.gguf"
    gguf.touch()

    def measured() -> dict:
        main(model=str(model_folder), gguf=gguf, threads=torch.get_num_threads(), out=tmp_path / "decode.json")
        return json.loads((tmp_path / "decode.json").read_text(encoding="utf-8"))

    return measured


def test_the_time_of_a_token_is_what_the_others_add_to_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reading of the prompt, and the first token with it, does not count."""
    monkeypatch.setattr(decode, "REPLY_TOKENS", 11)
    assert length_normalized({"prompt, a": 1.0, "prompt and reply, a": 1.5}, "a") == pytest.approx(0.05)


def test_what_is_not_installed_is_said_and_left_out(
    measure, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are measured all the same."""
    monkeypatch.setattr(decode, "find_spec", lambda _: None)
    assert set(measure()["median_ms"]) == {"fp32", "int8"}
    assert "llama_cpp is not installed, so it is left out\n" in capsys.readouterr().out


def test_another_engine_does_as_much(measure, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its prompt is as long as ours, nothing of it is kept, and it writes one token or all of them, on one thread."""
    module = ModuleType("llama_cpp")
    module.Llama = _Llama
    monkeypatch.setitem(sys.modules, "llama_cpp", module)
    monkeypatch.setattr(decode, "find_spec", lambda _: module)
    result = measure()
    assert set(result["median_ms"]) == {"fp32", "int8", "llama.cpp, model-q8_0.gguf"}
    (llama,) = _Llama.made
    assert llama.resets == len(llama.prompts) == 6 * 2
    assert llama.written == 6 * (1 + 3)
    assert {len(ids) for ids in llama.prompts} == {result["prompt_tokens"]}
    assert llama.options["n_threads"] == llama.options["n_threads_batch"] == 1
