"""Decisions and replies at once, and the end of a process in the middle of one."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from many_threads import TEXTS, passes, under_way, wait_until
from tiny_qwen import QUESTIONS, TEXT, fresh

from qwen_allinone.model import SharedQwen
from qwen_allinone.model.engine.local import scheduler


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
        "from qwen_allinone.model.engine.local.scheduler import Scheduler\n"
        "step = Scheduler.step\n"
        "def slowly(self):\n"
        "    stepped = step(self)\n"
        "    for _ in range(40): torch.ones(700, 700) @ torch.ones(700, 700)\n"
        "    return stepped\n"
        "Scheduler.step = slowly\n"
        f"SharedQwen.load({str(model_folder)!r}).generate('hello', max_new_tokens=1)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=120).returncode == 0


def test_a_thread_without_work_ends_and_the_next_request_starts_another(
    qwen: SharedQwen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle model costs no thread."""
    monkeypatch.setattr(scheduler, "IDLE_SECONDS", 0.01)
    shared = fresh(qwen)
    before = set(threading.enumerate())
    for _ in range(2):
        shared.decide(TEXT, QUESTIONS)
        wait_until(lambda: not [each for each in set(threading.enumerate()) - before if each.is_alive()])


def test_an_interrupted_decision_leaves_the_model_to_the_others(model_folder: Path) -> None:
    """Ctrl-C reaches the thread that waits, at once, and what it asks next is answered."""
    program = (
        "import _thread, signal, threading, time\n"
        "from qwen_allinone.model import Noul, SharedQwen\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"qwen, asked = SharedQwen.load({str(model_folder)!r}), {{'need': Noul(instructions='?')}}\n"
        "qwen.local.scheduler.call(lambda: time.sleep(3))\n"
        "threading.Timer(0.3, _thread.interrupt_main).start()\n"
        "try:\n"
        "    qwen.decide('hello', asked)\n"
        "except KeyboardInterrupt:\n"
        "    print(qwen.decide('hello', asked)['need'].option, qwen.local.scheduler.load.idle)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], check=True, timeout=120, capture_output=True, text=True)
    assert ran.stdout.split()[0] in ("yes", "no")
