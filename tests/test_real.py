"""Real Qwen weights, in the folder that ``QWEN_ALLINONE_REAL`` names.

What is fitted is kept in the folder that ``QWEN_ALLINONE_CACHE`` names; without one a run takes some minutes.
"""

import os
from collections.abc import Iterator

import pytest
import torch
from langchain_core.runnables import RunnableLambda

from qwen_allinone.eval import EvalRun, LabelledSet
from qwen_allinone.model import Choice, SharedQwen
from qwen_allinone.model.weights import int8
from qwen_allinone.router import PromptRouter, Route, builtin_routes, route_question
from qwen_allinone.tools import SentimentTool

_FOLDER, _CACHE = os.environ.get("QWEN_ALLINONE_REAL"), os.environ.get("QWEN_ALLINONE_CACHE")

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not _FOLDER, reason="QWEN_ALLINONE_REAL names no folder with real Qwen weights"),
]


@pytest.fixture(scope="module")
def real() -> Iterator[SharedQwen]:
    """The real model, on all cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    with pytest.MonkeyPatch.context() as patch:
        if _CACHE:
            patch.setenv("QWEN_ALLINONE_CACHE", _CACHE)
        yield SharedQwen.load(str(_FOLDER))
    torch.set_num_threads(threads)


@pytest.fixture
def router(real: SharedQwen) -> PromptRouter:
    """The default routes over the real model."""
    echo = RunnableLambda(str)
    return PromptRouter(real, builtin_routes(), runnables={route.runnable: echo for route in builtin_routes()})


@pytest.mark.skipif(not int8.available(), reason="this torch has no int8 operators for this CPU")
def test_it_computes_in_int8(real: SharedQwen) -> None:
    """It proves itself in int8, by enough clear decisions to tell."""
    found = real.quantization
    assert found is not None and found.dtype == "int8", found
    assert found.clear is not None and found.clear >= 100


def test_it_routes(router: PromptRouter) -> None:
    """Nineteen of twenty inputs of the built-in set at least, by learned decisions alone."""
    rows = LabelledSet.builtin("routes")
    report = EvalRun("route", rows, decide_all=router.decide_all, model=router.qwen.name).execute()
    assert report.accuracy.value is not None and report.accuracy.value >= 0.95
    assert {sample.decision.method for sample in report.samples if sample.decision} == {"learned"}


def test_it_knows_moods(real: SharedQwen) -> None:
    """More than four of five, half of them negated, ironic or implicit; its probabilities can be believed."""
    rows = LabelledSet.builtin("sentiment")
    report = EvalRun("sentiment", rows, decide_all=SentimentTool(qwen=real).polarities, model=real.name).execute()
    assert report.accuracy.value is not None and report.accuracy.value > 0.8
    assert report.calibration is not None and report.calibration.expected_error < 0.05


def test_the_order_of_options_changes_nothing(real: SharedQwen) -> None:
    """Not in the last digit."""
    asked = route_question(builtin_routes(), "zh")
    turned = Choice(**asked.model_dump() | {"criteria": dict(reversed(asked.criteria.items()))})
    one, other = (real.decide("帮我把会议改到周五", {"": each})[""].probabilities for each in (asked, turned))
    assert list(one) == list(reversed(other)) and dict(one) == dict(other)


def test_a_route_of_five_examples_works_at_once(router: PromptRouter) -> None:
    """It takes what belongs to it, leaves what does not, and goes without a trace."""
    logs = [
        "ERROR: exit status 1",
        "FAILED tests/test_a.py::test_b",
        "ld returned 1 exit status",
        "npm ERR! code ELIFECYCLE",
        "2 failed, 31 passed in 4.2s",
    ]
    before = router.decide("我今天很难过").probabilities
    router.add(Route("log", {"en": "output of a build or a test run"}, "log", {"en": logs}), RunnableLambda(str))
    assert router.decide("error: linker `cc` not found").option == "log"
    assert router.decide("FAILED tests/test_router.py - AssertionError").option == "log"
    assert router.decide("我今天很难过").option != "log"
    router.remove("log")
    assert dict(router.decide("我今天很难过").probabilities) == dict(before)
