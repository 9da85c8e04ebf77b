"""The precision that a model is loaded in."""

import json
import math
import os
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from qwen_allinone.errors import CapabilityError, InputError
from qwen_allinone.model import Decision, SharedQwen
from qwen_allinone.model.decisions.decision import Method
from qwen_allinone.model.decisions.self_test import learned_questions, self_test
from qwen_allinone.model.prompt.language import language_of
from qwen_allinone.model.weights import int8, loading, precision
from qwen_allinone.model.weights.cache import QuantizedWeightsCache
from qwen_allinone.model.weights.int8 import Int8Linear
from qwen_allinone.model.weights.loading import LoadedModel
from qwen_allinone.model.weights.precision import load_in_precision
from qwen_allinone.model.weights.report import QuantizationReport

pytestmark = pytest.mark.skipif(not int8.available(), reason="this torch has no int8 operators for this CPU")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and no model too small for int8."""
    monkeypatch.setenv("QWEN_ALLINONE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(precision, "MIN_PARAMETERS", 0)
    return tmp_path / "cache"


@pytest.fixture
def folder(model_folder: Path, tmp_path: Path) -> str:
    """A tiny model on disk, loaded by no other test."""
    return str(shutil.copytree(model_folder, tmp_path / "model"))


def _decided(option: str, count: int = 40) -> list[Decision]:
    other = "no" if option == "yes" else "yes"
    return [Decision.from_probabilities({option: 0.9, other: 0.1}, None)] * count


class _Examiner:
    """Answers the self-test for a model; in int8 as it is told, according to the layers that stayed."""

    def __init__(
        self, int8_answers: dict[tuple[bool, bool], Sequence[Decision]], *, expected: Sequence[Decision] | None = None
    ) -> None:
        self._answers = int8_answers
        self._expected = expected or _decided("yes")
        self.asked = 0

    def __call__(self, found: LoadedModel) -> Sequence[Decision]:
        self.asked += 1
        kinds = {name.rpartition(".")[2]: type(part) for name, part in found.model.named_modules()}
        stayed = tuple(kinds[name] is not Int8Linear for name in ("lm_head", "down_proj"))
        if kinds["up_proj"] is Int8Linear:
            return self._answers[stayed]
        torch.mm(torch.ones(1500, 1500), torch.ones(1500, 1500))  # fp32 is slower here, however quick the tests are
        return self._expected


_ALL, _DOWN, _BOTH = (False, False), (False, True), (True, True)


@pytest.mark.parametrize(
    ("right", "modules"), [([_ALL], ()), ([_DOWN], ("down_proj",)), ([_BOTH], ("lm_head", "down_proj"))]
)
def test_layers_stay_in_fp32_until_int8_decides_as_fp32_does(
    folder: str, right: list[tuple[bool, bool]], modules: tuple[str, ...]
) -> None:
    """The first that agrees is taken: all in int8, then without the down projections, then without the output too."""
    examiner = _Examiner({key: _decided("yes" if key in right else "no") for key in (_ALL, _DOWN, _BOTH)})
    found, report = load_in_precision(folder, device="cpu", precision="auto", self_test=examiner)
    assert (report.dtype, report.modules_to_not_convert, report.agreed, report.clear) == ("int8", modules, 40, 40)
    assert isinstance(found.model.get_submodule("model.layers.0.self_attn.q_proj"), Int8Linear)


def test_int8_is_dropped_if_it_never_agrees(folder: str) -> None:
    """The model stays as it was, and the report says how often they agreed."""
    wrong = _decided("yes", 37) + _decided("no", 3)
    found, report = load_in_precision(
        folder, device="cpu", precision="auto", self_test=_Examiner(dict.fromkeys((_ALL, _DOWN, _BOTH), wrong))
    )
    assert (report.dtype, report.agreed, report.clear) == ("fp32", 37, 40)
    assert not any(isinstance(part, Int8Linear) for part in found.model.modules())


@pytest.mark.parametrize("method", ["learned", "scored"])
def test_neither_kind_of_decision_hides_the_other(folder: str, method: Method) -> None:
    """Many scored decisions that agree make up for no learned ones that do not, nor the other way round."""
    same, other = _decided("yes", 100), _decided("no", 3)
    expected = same + [replace(each, method=method) for each in _decided("yes", 20)]
    found = same + [replace(each, method=method) for each in [*_decided("yes", 17), *other]]
    if method == "scored":
        expected, found = [[replace(e, method="learned") for e in a[:100]] + a[100:] for a in (expected, found)]
    examiner = _Examiner(dict.fromkeys((_ALL, _DOWN, _BOTH), found), expected=expected)
    _, report = load_in_precision(folder, device="cpu", precision="auto", self_test=examiner)
    assert (report.dtype, report.agreed, report.clear) == ("fp32", 117, 120)


def test_toss_ups_prove_nothing(folder: str) -> None:
    """A model whose answers are all toss-ups, as one of random weights, stays in fp32."""
    unsure = [Decision.from_probabilities({"yes": 0.51, "no": 0.49}, None)] * 40
    _, report = load_in_precision(folder, device="cpu", precision="auto", self_test=lambda _: unsure)
    assert report.dtype == "fp32" and "0 decisions of the self-test are clear" in report.reason


def test_small_models_are_not_tested(folder: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They load as they always did, and nothing is written."""
    monkeypatch.setattr(precision, "MIN_PARAMETERS", 10**8)

    def refuse(_: LoadedModel) -> Sequence[Decision]:
        raise AssertionError

    _, report = load_in_precision(folder, device="cpu", precision="auto", self_test=refuse)
    assert report.dtype == "fp32" and "100 million" in report.reason
    assert not cache.exists()


@pytest.mark.parametrize("right", [True, False])
def test_a_second_start_neither_tests_nor_reads_the_fp32_weights(
    folder: str, right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report is kept, and with int8 the weights; a second start gives the same model."""
    examiner = _Examiner(dict.fromkeys((_ALL, _DOWN, _BOTH), _decided("yes" if right else "no")))
    first, report = load_in_precision(folder, device="cpu", precision="auto", self_test=examiner)
    asked = examiner.asked
    if right:
        monkeypatch.setattr(loading, "load", None)
    second, again = load_in_precision(folder, device="cpu", precision="auto", self_test=examiner)
    assert (again, examiner.asked) == (report, asked)
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        assert torch.equal(first.model(ids).logits, second.model(ids).logits)


def test_a_model_that_is_to_decide_otherwise_is_tested_anew(folder: str) -> None:
    """The report was on decisions after all of its layers."""
    examiner = _Examiner(dict.fromkeys((_ALL, _DOWN, _BOTH), _decided("yes")))
    load_in_precision(folder, device="cpu", precision="auto", self_test=examiner)
    asked = examiner.asked
    (Path(folder) / "capabilities.json").write_text('{"decision_layers": 1}', encoding="utf-8")
    load_in_precision(folder, device="cpu", precision="auto", self_test=examiner)
    assert examiner.asked > asked


def test_other_weights_in_the_folder_are_tested_anew(folder: str, cache: Path) -> None:
    """What was kept belongs to weights, not to a name, a size or a date; and the old ones are removed."""
    examiner = _Examiner(dict.fromkeys((_ALL, _DOWN, _BOTH), _decided("yes")))
    load_in_precision(folder, device="cpu", precision="auto", self_test=examiner)
    path = Path(folder) / "model.safetensors"
    weights, dates = load_file(path), path.stat()
    weights = {name: weight.clone() for name, weight in weights.items()}
    weights["model.layers.1.mlp.down_proj.weight"] *= 1.5
    path.unlink()
    save_file(weights, path, {"format": "pt"})
    os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))
    assert path.stat().st_size == dates.st_size
    found, _ = load_in_precision(folder, device="cpu", precision="auto", self_test=examiner)
    assert examiner.asked == 4
    assert len(list(cache.rglob("*.safetensors"))) == 1
    plain = loading.load(folder, device="cpu", dtype=torch.float32).model
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        assert (found.model(ids).logits - plain(ids).logits).norm() < 0.2 * plain(ids).logits.norm()


def test_an_error_in_int8_leaves_the_model_in_fp32(folder: str, cache: Path) -> None:
    """No memory for both, say: the model loads as it would without int8, and is asked again next time."""

    def answers(found: LoadedModel) -> Sequence[Decision]:
        if any(isinstance(part, Int8Linear) for part in found.model.modules()):
            raise MemoryError("no room for two")
        return _decided("yes")

    _, report = load_in_precision(folder, device="cpu", precision="auto", self_test=answers)
    assert (report.dtype, report.reason) == ("fp32", "int8 could not be tried: no room for two")
    assert not list(cache.rglob("*.json"))


def test_a_report_that_makes_no_sense_is_none(folder: str, cache: Path) -> None:
    """A file that somebody edited is not believed."""
    kept = QuantizedWeightsCache(Path(folder))
    kept.keep_report(QuantizationReport("int8", "fine"))
    (path,) = cache.rglob("report-*.json")
    assert kept.report() == QuantizationReport("int8", "fine")
    written = path.read_text()
    for wrong in (
        written.replace('"int8"', '"int2"'),
        written.replace("[]", "5"),
        written.replace('"dtype"', '"type"'),
    ):
        path.write_text(wrong)
        assert kept.report() is None


@pytest.mark.parametrize("broken", ["report-*.json", "int8.safetensors"])
def test_a_broken_file_is_made_anew(folder: str, cache: Path, broken: str) -> None:
    """A half-written report or weights cost time and nothing else."""
    examiner = _Examiner(dict.fromkeys((_ALL, _DOWN, _BOTH), _decided("yes")))
    load_in_precision(folder, device="cpu", precision="auto", self_test=examiner)
    (path,) = cache.rglob(broken)
    path.write_bytes(path.read_bytes()[:50])
    _, report = load_in_precision(folder, device="cpu", precision="auto", self_test=examiner)
    assert report.dtype == "int8"
    assert len(path.read_bytes()) > 50


def test_a_cache_that_cannot_be_written_is_said(folder: str, cache: Path) -> None:
    """The model loads all the same."""
    cache.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="QWEN_ALLINONE_CACHE"):
        _, report = load_in_precision(folder, device="cpu", precision="int8", self_test=lambda _: [])
    assert report.dtype == "int8"


def test_int8_as_asked_for_is_not_tested(folder: str) -> None:
    """The caller knows."""
    shared = SharedQwen.load(folder, precision="int8")
    assert (shared.quantization.dtype, shared.quantization.agreed) == ("int8", None)
    assert isinstance(shared.local.model.lm_head, Int8Linear)
    assert SharedQwen.load(folder, precision="int8") is shared
    assert SharedQwen.load(folder, precision="fp32") is not shared


def test_the_environment_chooses(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """``QWEN_ALLINONE_PRECISION`` stands in for an argument that is not given."""
    monkeypatch.setenv("QWEN_ALLINONE_PRECISION", "bf16")
    shared = SharedQwen.load(folder)
    assert (shared.quantization.dtype, shared.local.model.dtype) == ("bf16", torch.bfloat16)


def test_what_cannot_be_is_refused(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown word, and int8 where there are no operators or no CPU."""
    with pytest.raises(InputError, match="'int4' is unknown; allowed: auto, fp32, int8, bf16, fp16"):
        load_in_precision(folder, device="cpu", precision="int4", self_test=lambda _: [])
    with pytest.raises(CapabilityError, match="on cuda"):
        load_in_precision(folder, device="cuda", precision="int8", self_test=lambda _: [])
    monkeypatch.setattr(int8, "available", lambda: False)
    with pytest.raises(CapabilityError, match=re.escape(torch.__version__)):
        load_in_precision(folder, device="cpu", precision="int8", self_test=lambda _: [])
    _, report = load_in_precision(folder, device="cpu", precision="auto", self_test=lambda _: [])
    assert report.dtype == "fp32" and "no int8 operators" in report.reason


def test_the_self_test_asks_in_both_languages() -> None:
    """Four questions about each of as many Chinese texts as English ones; every prompt is another."""
    asked = self_test()
    assert Counter(language_of(text) for text, _ in asked) == {"zh": 14, "en": 14}
    assert {len(questions) for _, questions in asked} == {4}
    assert len({text for text, _ in asked}) == len(asked)


def test_a_model_that_knows_its_mind_proves_itself(trained: SharedQwen, tmp_path: Path) -> None:
    """The whole way, with nothing made up: a model on disk answers the self-test in fp32 and in int8."""
    folder = tmp_path / "trained"
    trained.local.model.save_pretrained(folder)
    trained.local.tokenizer.save_pretrained(folder)
    shared = SharedQwen.load(str(folder))
    report = shared.quantization
    assert report.clear is not None and report.agreed is not None and report.speedup is not None
    assert report.drift is not None and report.drift > 0
    assert (report.dtype == "int8") == (report.reason == "decides as fp32 does, and faster")
    if report.dtype == "int8":
        assert report.agreed >= 0.95 * report.clear


def test_the_self_test_learns_in_both_languages() -> None:
    """Ten examples of each aim, none of which is scored as well."""
    scored = {text for text, _ in self_test()}
    for question, language in zip(learned_questions(), ("zh", "en"), strict=True):
        texts = [text for own in (question.examples or {}).values() for text in own]
        assert {len(own) for own in question.examples.values()} == {10} and len(question.criteria) == 4
        assert len(set(texts)) == 40 and not scored & set(texts)
        assert {language_of(text) for text in texts} == {language}


def test_clear_decisions_are_compared() -> None:
    """Toss-ups of the first are left out, whatever the second says; the drift is that of all."""
    clear, other = _decided("yes", 1)[0], _decided("no", 1)[0]
    toss_up = replace(clear, probabilities={"yes": 0.51, "no": 0.49})
    found = precision.Agreement.from_answers([clear, clear, toss_up], [clear, other, toss_up])
    assert (found.agreed, found.clear) == (1, 2)
    assert found.drift == pytest.approx(math.log(9) / 3)


def test_a_report_can_be_read_by_people(folder: str, cache: Path) -> None:
    """What was decided stands beside the weights."""
    examiner = _Examiner(dict.fromkeys((_ALL, _DOWN, _BOTH), _decided("yes")))
    load_in_precision(folder, device="cpu", precision="auto", self_test=examiner)
    (path,) = cache.rglob("report-*.json")
    assert json.loads(path.read_text())["reason"] == "decides as fp32 does, and faster"
