"""The benchmarks of speed compare what they say they compare."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import pytest
import typer
from tiny_qwen import ENGLISH, TEXT

from benchmarks import batches, conversation, first_decision, interleaved, machine, memory, plot, resident
from benchmarks.accuracy.figure import Target
from benchmarks.fresh_process import output_of
from benchmarks.naive import NaiveBatches
from qwen_allinone.model import SharedQwen
from qwen_allinone.model.prompt.language import language_of

needs_status = pytest.mark.skipif(not resident.STATUS.exists(), reason="memory is told by Linux alone")


def _read(path: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_ways_take_turns_and_the_first_round_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that runs slowly in the first round leaves no trace in the medians."""
    calls: list[str] = []
    clock = iter([second for count in range(3) for second in (0.0, 100.0 if not count else 1.0, 0.0, 100.0)])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    ways = {name: lambda given, name=name: calls.append(name + given) for name in "ab"}
    found = interleaved.medians(ways, ["1"], rounds=2, before=lambda: calls.append("-"))
    assert found == {"a": 1.0, "b": 100.0}
    assert "".join(calls) == "-a1-b1" * 3


def test_a_report_says_which_targets_are_met(tmp_path: Path) -> None:
    """Targets are aimed at ratios, not at times."""
    targets = {"slow": Target(10), "middling": Target(2, "at most")}
    interleaved.report(
        tmp_path / "r.json", {"fast": 0.1, "middling": 0.3, "slow": 1.0}, base="fast", targets=targets, model="m"
    )
    result = _read(tmp_path / "r.json")
    assert result["ratio_to_fast"] == {"fast": 1.0, "middling": 3.0, "slow": 10.0}
    assert result["targets"] == {
        "slow": {"bound": 10, "sense": "at least", "met": True},
        "middling": {"bound": 2, "sense": "at most", "met": False},
    }
    assert result["median_ms"]["slow"] == 1000


def test_no_text_of_a_batch_occurs_twice() -> None:
    """Where the given ones do not suffice, two of one language make another."""
    texts = ["good", "很好", "bad", "不好", "so so"]
    assert batches.distinct(texts, 2) == texts[:2]
    found = batches.distinct(texts, 11)
    assert len(set(found)) == len(found) == 11
    assert found[:5] == texts
    assert all(language_of(first) == language_of(second) for first, second in (each.split("\n") for each in found[5:]))


def test_generated_batches_are_padded_so_that_each_text_is_answered_as_alone(trained: SharedQwen) -> None:
    """The padding changes no answer, and the shared tokenizer is left as it was."""
    side = trained.local.tokenizer.padding_side
    naive = NaiveBatches(trained.local.model, trained.local.tokenizer)
    assert naive.moods([TEXT, ENGLISH]) == [*naive.moods([TEXT]), *naive.moods([ENGLISH])]
    assert trained.local.tokenizer.padding_side == side


def test_later_turns_of_a_conversation_read_less_where_readings_are_kept(qwen: SharedQwen) -> None:
    """In the first turn there is nothing to go on from; a model that keeps nothing reads more in every turn."""
    read, seconds = conversation.measure(qwen, ["Hello.", "Well?", "Bye."], rounds=1, reply_tokens=4)
    assert read["turn 1"] == read["turn 1, nothing kept"]
    assert read["turn 3"] < read["turn 2, nothing kept"] < read["turn 3, nothing kept"]
    assert seconds.keys() == read.keys()
    assert qwen.local.prefix_cache.max_bytes > 0


def test_a_fresh_process_sees_the_threads_it_may_use() -> None:
    """And what else its environment is to hold; a failure is not overlooked."""
    program = "import os; print(os.environ['OMP_NUM_THREADS'], os.environ['QWEN_ALLINONE_CACHE'])"
    assert output_of("-c", program, threads=3, QWEN_ALLINONE_CACHE="here").split() == ["3", "here"]
    with pytest.raises(CalledProcessError, match="exit status 4"):
        output_of("-c", "raise SystemExit(4)", threads=1)


@pytest.mark.parametrize("name", ["decision", "decision of a tool"])
def test_the_programs_of_a_first_decision_decide(
    name: str, model_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each prints a mood for the text it is given."""
    monkeypatch.setattr(sys, "argv", ["-c", "A lovely room."])
    exec(first_decision.programs(str(model_folder))[name], {})
    assert any(mood in capsys.readouterr().out for mood in ("positive", "negative"))


@needs_status
def test_a_process_knows_what_it_takes(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a conversation that has come near the tokens that were wanted."""
    monkeypatch.setenv("QWEN_ALLINONE_CACHE", str(tmp_path))
    resident.main(model=str(model_folder), precision="fp32", turns=2, tokens=500)
    told = json.loads(capsys.readouterr().out)
    assert 250 < told["context_tokens"] < 750
    assert 0 < told["anonymous"] < told["resident"] <= told["peak"]


@needs_status
def test_memory_is_told_of_a_first_and_of_a_later_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both find the same folder of int8 weights, which is none that was there before; others have no target."""
    caches: list[str] = []
    started: list[str] = []

    def output(*options: str, QWEN_ALLINONE_CACHE: str, **_: Any) -> str:  # noqa: N803
        caches.append(QWEN_ALLINONE_CACHE)
        started.append(options[options.index("--precision") + 1])
        return json.dumps({"context_tokens": 9, "resident": 100.0 * len(started)})

    monkeypatch.setattr(memory, "output_of", output)
    memory.main(turns=1, tokens=9, out=tmp_path / "memory.json")
    assert started == ["fp32", "int8", "int8"]
    assert len(set(caches)) == 1
    result = _read(tmp_path / "memory.json")
    assert result["megabytes"]["int8"] == {"resident": 300}
    assert "targets" not in result


def test_what_a_machine_can_do_at_most_bounds_a_token_from_below(tmp_path: Path) -> None:
    """All weights are read for a token that is written: 494 million, of four bytes or of one."""
    least = machine.least_milliseconds(bandwidth=10, arithmetic={"fp32": 100, "int8": 200})
    assert least["write a token, fp32"] == pytest.approx(197.6, abs=0.1)
    assert least["write a token, int8"] == pytest.approx(49.4, abs=0.1)
    assert least["read tokens, fp32"] == pytest.approx(2 * least["read tokens, int8"], abs=0.01)
    machine.main(rounds=1, tokens=2, megabytes=1, out=tmp_path / "machine.json")
    assert all(value > 0 for value in _read(tmp_path / "machine.json")["least_ms_per_token"].values())


def test_a_picture_shows_ratios_and_memory_with_their_targets(tmp_path: Path) -> None:
    """The base is not drawn; results of another kind are left out; without any there is no picture."""
    with pytest.raises(typer.BadParameter, match="nothing in"):
        plot.main(results=tmp_path, out=tmp_path / "speed.png")
    interleaved.report(
        tmp_path / "a_b.json", {"one": 1.0, "the other": 3.0}, base="one", targets={"the other": Target(2)}, model="m"
    )
    target = {"bound": 1400, "sense": "at most", "met": False}
    interleaved.record(
        tmp_path / "memory.json", model="m", megabytes={"int8": {"resident": 1500}}, targets={"int8": target}
    )
    interleaved.record(tmp_path / "machine.json", gigabytes_per_second={"sum": 5})
    ratios, taken = plot.panel_of(tmp_path / "a_b.json"), plot.panel_of(tmp_path / "memory.json")
    assert ratios is not None
    assert ratios.title == "a b · m: times as long as “one”"
    assert [(bar.what, bar.value, (bar.target or {})["met"]) for bar in ratios.bars] == [("the other", 3.0, True)]
    assert taken is not None
    assert [(bar.value, (bar.target or {})["bound"]) for bar in taken.bars] == [(1.5, 1.4)]
    assert plot.panel_of(tmp_path / "machine.json") is None
    plot.main(results=tmp_path, out=tmp_path / "speed.png")
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")
