"""The loop that everything runs through: schedule, run, postprocess.

Every step runs one batch: jobs of several threads that share a pass, the prompt of one new reply, or the next token of
every reply under way. The kinds take turns, so a decision waits for a step or two and never for a reply to end, and a
thousand texts hold up neither. (The continuous batching of transformers reads every prompt itself; here a reply goes on
from what decisions about its text have read.)
"""

import atexit
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Thread, current_thread
from typing import Any, TypeVar
from weakref import WeakSet

import torch

from qwen_allinone.errors import ModelBusyError, RunError
from qwen_allinone.model.engine.local.packing import BranchedPrompt, Span
from qwen_allinone.model.engine.local.reply import LocalGeneration
from qwen_allinone.model.engine.local.runner import ModelRunner

T = TypeVar("T")

MAX_REPLIES = 8
"""Replies under way at the same time; further ones wait."""
MAX_REPLY_TOKENS = 32_768
"""Tokens of all replies under way, each counted as long as the longest may get; a single reply may be longer."""
MAX_WAITING = 256
"""Replies that may wait; one more is refused."""
IDLE_SECONDS = 5.0
"""Time after which a thread without work ends."""
_PATIENCE = 5.0
"""Seconds for which the end of the process waits for the step that is being computed."""


@dataclass(eq=False)
class Job:
    """A prompt that may share a pass with others: its branches are scored, or hidden states of its text are taken."""

    prompt: BranchedPrompt
    layers: tuple[int, ...] = ()
    """Numbers of layers after which hidden states are taken; none: the branches are scored."""
    span: Span = (0, 0)
    """Place of the text whose hidden states are taken."""
    cache_prefix: bool = True
    """Keep the KV cache of the prompt; False: one of very many, which nobody comes back to."""
    beginning: str = ""
    """Compared between those of very many: only prompts that begin alike share a pass."""
    future: "Future[Any]" = field(default_factory=Future)


@dataclass(eq=False)
class Call:
    """A call that needs the model for itself."""

    call: Callable[[], Any]
    future: "Future[Any]" = field(default_factory=Future)


@dataclass(frozen=True)
class SchedulerLoad:
    """Work of a scheduler."""

    jobs: int
    """Jobs and calls that wait for a pass."""
    waiting_replies: int
    replies: int
    """Replies under way."""

    @property
    def idle(self) -> bool:
        """True if there is nothing to do."""
        return not (self.jobs or self.waiting_replies or self.replies)


@dataclass(frozen=True)
class _JobBatch:
    jobs: Sequence[Job]


@dataclass(frozen=True)
class _Prefill:
    reply: LocalGeneration


@dataclass(frozen=True)
class _Decode:
    replies: Sequence[LocalGeneration]


_Batch = Call | _JobBatch | _Prefill | _Decode


class Scheduler:
    """Serves decisions and replies of all threads with one model.

    Args:
        runner: runs the batches; nobody else may use it meanwhile.
        max_batch_tokens: most tokens of a pass, padding included, unless a single text has more.
        threaded: run the loop in a thread of its own; False: the caller does, by ``step``.
    """

    def __init__(self, runner: ModelRunner, *, max_batch_tokens: int = 4096, threaded: bool = True) -> None:
        self.max_batch_tokens = max_batch_tokens
        self._runner = runner
        self._threaded = threaded
        self._calls: deque[Call] = deque()
        self._jobs: deque[Job] = deque()
        self._bulk_jobs: deque[Job] = deque()
        self._waiting: deque[LocalGeneration] = deque()
        self._replies: list[LocalGeneration] = []
        """Those under way, in the order of the runner's rows."""
        self._turns: deque[Callable[[], _Batch | None]] = deque(
            [self._next_call, self._next_jobs, self._next_bulk_jobs, self._next_prefill, self._next_decode]
        )
        self._condition = Condition()
        self._thread: Thread | None = None
        self._closing = False

    # For the threads that ask

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue jobs; their futures hold the results."""
        with self._condition:
            self._wake()
            # Very many texts wait apart, or a single decision would wait for all of them.
            for job in jobs:
                queue = self._jobs if job.cache_prefix else self._bulk_jobs
                queue.append(job)

    def call(self, call: Callable[[], T]) -> "Future[T]":
        """Queue a call that uses the model by itself, between two steps."""
        work = Call(call)
        with self._condition:
            self._wake()
            self._calls.append(work)
        return work.future

    def add(self, reply: LocalGeneration) -> None:
        """Queue a reply.

        Raises:
            ModelBusyError: too many are waiting already.
        """
        with self._condition:
            if len(self._waiting) >= MAX_WAITING:
                raise ModelBusyError(f"{MAX_WAITING} replies are waiting for the model; try again later")
            self._wake()
            self._waiting.append(reply)

    @property
    def load(self) -> "SchedulerLoad":
        """Work that waits and is under way."""
        jobs = len(self._calls) + len(self._jobs) + len(self._bulk_jobs)
        return SchedulerLoad(jobs, len(self._waiting), len(self._replies))

    # The loop

    @torch.inference_mode()
    def step(self) -> bool:
        """Run one batch; return False if there was none."""
        batch = self._schedule()
        if batch is None:
            return False
        try:
            outputs = self._run(batch)
        except BaseException as error:
            self._fail(batch, error)
            if not isinstance(error, Exception):
                raise
        else:
            self._postprocess(batch, outputs)
        return True

    def _schedule(self) -> _Batch | None:
        """Take the next batch, of the kind whose turn it is and of which there is some."""
        self._drop_cancelled()
        # The kind that had its turn goes behind the others, so that none of them starves.
        for _ in range(len(self._turns)):
            take = self._turns[0]
            self._turns.rotate(-1)
            batch = take()
            if batch is not None:
                return batch
        return None

    def _run(self, batch: _Batch) -> Any:
        match batch:
            case _JobBatch(jobs):
                return self._run_jobs(jobs)
            case _Prefill(reply):
                return [self._runner.prefill(reply.prompt, reply.branch_point)]
            case _Decode(replies):
                return self._runner.decode([reply.written[-1] for reply in replies])[:, None]
            case Call():
                return batch.call()

    def _postprocess(self, batch: _Batch, outputs: Any) -> None:
        """Resolve futures, hand out tokens, let finished replies go."""
        match batch:
            case _JobBatch(jobs):
                for job, result in zip(jobs, outputs, strict=True):
                    job.future.set_result(result)
            case _Prefill(reply):
                # Its row is the last one of the runner now, as it is here.
                self._replies.append(reply)
                self._advance([reply], outputs)
            case _Decode(replies):
                self._advance(replies, outputs)
            case Call():
                batch.future.set_result(outputs)

    def _fail(self, batch: _Batch, error: BaseException) -> None:
        """Tell those whom an error concerns; the jobs of a pass are each tried alone first."""
        match batch:
            case _JobBatch([job]):
                job.future.set_exception(error)
            case _JobBatch(jobs):
                # Out of memory together is no reason to be out of memory alone; nor must one bad job break the others.
                for job in jobs:
                    self._run_alone(job)
            case _Prefill(reply):
                reply.finish(error)
            case _Decode(replies):
                for reply in list(replies):
                    self._remove(reply, error)
            case Call():
                batch.future.set_exception(error)

    # Its parts

    def _next_call(self) -> _Batch | None:
        while self._calls:
            call = self._calls.popleft()
            if call.future.set_running_or_notify_cancel():
                return call
        return None

    def _next_jobs(self) -> _Batch | None:
        return self._take(self._jobs)

    def _next_bulk_jobs(self) -> _Batch | None:
        return self._take(self._bulk_jobs)

    def _next_prefill(self) -> _Batch | None:
        """Let in one reply at a time, so that those under way wait for the reading of one prompt at most."""
        if not self._waiting or not self._has_room(self._waiting[0]):
            return None
        return _Prefill(self._waiting.popleft())

    def _next_decode(self) -> _Batch | None:
        return _Decode(tuple(self._replies)) if self._replies else None

    def _take(self, queue: deque[Job]) -> _Batch | None:
        """Take the jobs that have waited longest, as many as share a pass."""
        batch: list[Job] = []
        width = 0
        while queue:
            job = queue[0]
            width = max(width, job.prompt.size)
            if batch and not self._joins(batch, job, width):
                break
            queue.popleft()
            if not job.future.set_running_or_notify_cancel():
                continue
            batch.append(job)
            # Goes on from a KV cache of its own: alone it reads nothing, in a pass it would be read again.
            if self._is_known(job):
                break
        return _JobBatch(batch) if batch else None

    def _joins(self, batch: Sequence[Job], job: Job, width: int) -> bool:
        """Return True if a job fits into a pass with these."""
        alike = job.layers == batch[0].layers and job.beginning == batch[0].beginning
        return alike and (len(batch) + 1) * width <= self.max_batch_tokens and not self._is_known(job)

    def _is_known(self, job: Job) -> bool:
        """Return True if a job goes on from a KV cache of its own, which other rows of a pass do not have."""
        return job.cache_prefix and self._runner.knows(job.prompt.prefix)

    def _run_jobs(self, jobs: Sequence[Job]) -> Sequence[Any]:
        layers, keep = jobs[0].layers, jobs[0].cache_prefix
        if not layers:
            return self._runner.score([job.prompt for job in jobs], keep=keep)
        prompts, spans = [job.prompt.prefix for job in jobs], [job.span for job in jobs]
        return self._runner.read(prompts, spans, layers=layers, keep=keep)

    def _run_alone(self, job: Job) -> None:
        try:
            (result,) = self._run_jobs([job])
        except Exception as error:
            job.future.set_exception(error)
        else:
            job.future.set_result(result)

    def _has_room(self, reply: LocalGeneration) -> bool:
        """Return True if one more reply fits, assuming every row grows to the longest allowed length."""
        longest = max(each.max_length for each in (*self._replies, reply))
        count = len(self._replies) + 1
        return count == 1 or (count <= MAX_REPLIES and count * longest <= MAX_REPLY_TOKENS)

    def _advance(self, replies: Sequence[LocalGeneration], logits: Sequence[torch.Tensor]) -> None:
        """Choose the next token of each reply; an error in one of them is its own affair."""
        for reply, own in zip(replies, logits, strict=True):
            try:
                reply.advance(own)
            except Exception as error:
                self._remove(reply, error)
                continue
            if reply.complete:
                self._remove(reply)

    def _drop_cancelled(self) -> None:
        for reply in [reply for reply in self._replies if reply.cancelled]:
            self._remove(reply)
        with self._condition:  # other threads add to it
            cancelled = [reply for reply in self._waiting if reply.cancelled]
            for reply in cancelled:
                self._waiting.remove(reply)
        for reply in cancelled:
            reply.finish()

    def _remove(self, reply: LocalGeneration, error: BaseException | None = None) -> None:
        """End a reply under way; the last one takes its row."""
        # The runner moves its last row into the gap; the list does the same, so that they stay in step.
        row = self._replies.index(reply)
        last = self._replies.pop()
        if last is not reply:
            self._replies[row] = last
        keep = error is None and reply.cache_reply
        try:
            self._runner.drop(row, keep_as=[*reply.prompt, *reply.written] if keep else None)
        finally:
            reply.finish(error)

    # Its thread

    def _wake(self) -> None:
        """Have the loop look for work that is about to be queued; whoever calls this holds the condition."""
        if self._threaded and (self._thread is None or not self._thread.is_alive()):
            thread = Thread(target=self._loop, name="qwen-scheduler", daemon=True)
            thread.start()
            self._thread = thread
            _started.add(self)
        self._condition.notify()

    def _loop(self) -> None:
        """Step until there has been nothing to do for a while."""
        try:
            while not self._closing:
                if self.step():
                    continue
                with self._condition:
                    # Whoever queues work holds the condition, so nothing can slip in between this look and the end.
                    if not self._condition.wait_for(lambda: self._closing or not self.load.idle, IDLE_SECONDS):
                        self._thread = None
                        return
            self._give_up(RunError("the model is closed: the process is ending"))  # nobody may wait for ever
        except BaseException as error:  # errors that can be foreseen are told to those they concern; this one to all
            self._give_up(error)

    def _give_up(self, error: BaseException) -> None:
        with self._condition:
            replies = [*self._replies, *self._waiting]
            futures = [call.future for call in self._calls]
            futures += [job.future for job in (*self._jobs, *self._bulk_jobs)]
            self._replies.clear()
            for queue in (self._waiting, self._calls, self._jobs, self._bulk_jobs):
                queue.clear()
            self._runner.drop_all()
            self._thread = None
        for reply in replies:
            reply.finish(error)
        for future in futures:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)

    def close(self) -> None:
        """End the loop after the present step, and wait for it a moment."""
        with self._condition:
            # No thread may be inside of torch when the interpreter goes: it would abort the process.
            self._closing = True
            self._condition.notify_all()
            thread = self._thread
        if thread is not None and thread is not current_thread():
            thread.join(_PATIENCE)


_started: "WeakSet[Scheduler]" = WeakSet()


@atexit.register
def _close_all() -> None:
    """Stop every loop: a thread that is inside of torch when the interpreter goes would abort the process."""
    for scheduler in list(_started):
        scheduler.close()
