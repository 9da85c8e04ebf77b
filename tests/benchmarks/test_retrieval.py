"""The benchmark of retrieval searches what the embedder did not learn from."""

import gzip
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from benchmarks.retrieval import tasks
from benchmarks.retrieval.__main__ import main
from benchmarks.retrieval.recall import fused, hits_at_5
from benchmarks.retrieval.tasks import SearchTask
from training.embedder import retrieval_data


def _reading(language: str) -> list[dict[str, Any]]:
    return [{"question": f"{language} q{n}", "context": f"{language} c{n}", "answers": ["c"]} for n in range(20)]


ROWS: dict[str, list[dict[str, Any]]] = {
    "chat/zh_kdconv": [{"topic": "film", "dialogue": ["a", "b"]}],
    "summary/zh_csl_title_dev": [{"text": f"abstract {n}", "summary": f"title {n}"} for n in range(4)],
    "retrieval/zh_atec_pairs": [
        {"text": f"left {n % 3900}", "text2": f"right {n}", "label": str(n % 4 and 1)} for n in range(8000)
    ],
    "retrieval/zh_bustm_pairs": [{"text": f"one {n}", "text2": f"two {n}", "label": str(n % 2)} for n in range(8)],
    "retrieval/zh_cmrc2018": _reading("cmrc"),
    "retrieval/zh_kdconv_travel_dev": [{"question": "where?", "gold_titles": ["b"]}],
    "retrieval/zh_kdconv_travel_passages": [{"title": title, "text": f"about {title}"} for title in "abc"],
    "retrieval/en_xquad": _reading("en"),
    "retrieval/zh_xquad": _reading("zh"),
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of small data sets."""
    for name, rows in ROWS.items():
        path = tmp_path / f"{name}.jsonl.gz"
        path.parent.mkdir(exist_ok=True)
        with gzip.open(path, "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return tmp_path


def test_no_text_that_is_searched_is_learned_from(data: Path) -> None:
    """The recipe holds out every question and passage of every task, and searches none that it does not hold out."""
    _, held_out = retrieval_data._split(ROWS, random.Random(0))
    found = [*tasks.measured_on(data), *tasks.chosen_on(data)]
    assert set().union(*(task.texts for task in found)) == held_out
    assert len(found) == 10


def test_every_question_is_answered_by_its_passages(data: Path) -> None:
    """Answers are places among the passages, in the other language too."""
    found = {task.name: task for task in tasks.measured_on(data)}
    assert found["kdconv travel"].answers == [{1}]
    across = found["xquad zh to en"]
    assert across.questions[0] == "zh q5"
    assert [across.passages[place] for place in across.answers[0]] == ["en c5"]


def test_fusion_prefers_what_both_find() -> None:
    """Second in both rankings comes before first in one and last in the other."""
    task = SearchTask("one", ["q"], [str(i) for i in range(8)], [{1}])
    one, other = np.array([[8.0, 7, 6, 5, 4, 3, 2, 1]]), np.array([[1.0, 7, 6, 5, 4, 3, 2, 8]])
    assert int(np.argmax(fused(one, other))) == 1
    assert hits_at_5(task, fused(one, other)).hits == 1


def test_missing_data_sets_are_named(tmp_path: Path) -> None:
    """Nothing is measured."""
    with pytest.raises(typer.BadParameter, match=r"lacks the data sets .*zh_xquad"):
        main(data=tmp_path)
