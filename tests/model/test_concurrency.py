"""Decisions and replies at once, and the end of a process in the middle of one."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from many_threads import TEXTS, passes, under_way
from tiny_qwen import QUESTIONS, TEXT, fresh

from qwen_allinone.model import SharedQwen


def test_decisions_come_between_the_steps_of_a_reply(qwen: SharedQwen) -> None:
    """A decision waits for a step or two, not for the reply."""
    shared = fresh(qwen)
    expected = shared.decide(TEXT, QUESTIONS)
    shared.clear_cache()
    long = under_way(shared)
    with passes(shared) as rows:
        assert shared.decide(TEXT, QUESTIONS) == expected
        assert len(rows) < 100
    long.close()


def test_sixteen_threads_get_what_each_would_get_alone(any_qwen: SharedQwen) -> None:
    """Decisions, replies and cancelled replies, all at once, several times over."""
    expected_replies = [fresh(any_qwen).generate(text, max_new_tokens=10) for text in TEXTS]
    expected = [fresh(any_qwen).decide(text, QUESTIONS) for text in TEXTS]
    shared = fresh(any_qwen)

    def work(number: int) -> None:
        for turn in range(4):
            place = (number + turn) % len(TEXTS)
            if (number + turn) % 3 == 0:
                for name, decision in shared.decide(TEXTS[place], QUESTIONS).items():
                    assert dict(decision.probabilities) == pytest.approx(
                        dict(expected[place][name].probabilities), abs=1e-4
                    )
            elif (number + turn) % 3 == 1:
                assert shared.generate(TEXTS[place], max_new_tokens=10) == expected_replies[place]
            else:
                with shared.stream(TEXTS[place], max_new_tokens=200, min_new_tokens=200) as stream:
                    next(stream)
                assert stream.reply.finish_reason == "cancelled"

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))


def test_a_process_may_end_while_a_reply_is_under_way(model_folder: Path) -> None:
    """It ends with the exit code that it would have, and not by a signal."""
    program = (
        "import sys\n"
        "from qwen_allinone.model import SharedQwen\n"
        f"stream = SharedQwen.load({str(model_folder)!r}).stream('hello', min_new_tokens=900, max_new_tokens=900)\n"
        "next(stream)\n"
        "sys.exit(7)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=120).returncode == 7


def test_a_process_may_end_right_after_a_reply(model_folder: Path) -> None:
    """The thread that wrote it is waited for, also if it is still inside of torch when the reply is there."""
    program = (
        "import torch\n"
        "from qwen_allinone.model import SharedQwen\n"
        "from qwen_allinone.model.reply_batch import ReplyBatch\n"
        "goes_on = ReplyBatch._goes_on\n"
        "def slowly(self):\n"
        "    for _ in range(40): torch.ones(700, 700) @ torch.ones(700, 700)\n"
        "    return goes_on(self)\n"
        "ReplyBatch._goes_on = slowly\n"
        f"SharedQwen.load({str(model_folder)!r}).generate('hello', max_new_tokens=1)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=120).returncode == 0
