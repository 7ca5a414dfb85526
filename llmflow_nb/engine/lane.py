"""The lane of a walk: one task and one context in which its async hooks run, one after the other.

The async hooks of a visit have to share a task and a context: ``post`` closes a task group or a session that ``prep``
opened, and ``exec`` reads a context variable that ``prep`` set. A lane and its jobs live in the thread of one event
loop; only `Lane.__del__` may run elsewhere.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from typing import Any

from ..core.errors import NestedLoopError
from .awaitables import discard

__all__ = ["Job", "Lane", "await_here"]


class Job:
    """One awaitable to run in a lane."""

    __slots__ = ("_awaitable", "_done", "_follow", "_is_cancelled", "_task", "is_added", "outcome")

    def __init__(
        self,
        awaitable: Any,
        done: Callable[[Any, BaseException | None], object],
        follow: Callable[[Any, BaseException | None], Any] | None = None,
    ) -> None:
        """Take the awaitable, and what to call with its outcome.

        Args:
            awaitable: What to await.
            done: Called with the value and the error, in the loop's thread, once the lane has left its context.
            follow: Called with the value and the error, within the task, in place of ``done``: it returns what to await
                there next, or None at the end. Not called once the job is cancelled.
        """
        self._awaitable = awaitable
        self._done: Callable[[Any, BaseException | None], object] | None = done
        self._follow = follow
        self._task: asyncio.Task[Any] | None = None
        self._is_cancelled = False
        self.is_added = False  # whether a lane has it, and will report its outcome
        # The value and the error, also before they have arrived at the driver. Read from any thread.
        self.outcome: tuple[Any, BaseException | None] | None = None

    def cancel(self) -> None:
        """Cancel the awaitable. It may still clean up, or ignore this. Before its start: it never starts."""
        self._is_cancelled = True
        if self._task is not None:
            self._task.cancel()

    async def run(self) -> None:
        """Await it, and report the outcome; raises nothing."""
        task = asyncio.current_task()
        assert task is not None
        cancelling = task.cancelling()
        value, error = await self._await(task)
        is_reported = False
        while self._follow is not None and not self._is_cancelled and not is_reported:
            self._awaitable = self._follow(value, error)
            if self._awaitable is None:
                is_reported = True
            else:
                value, error = await self._await(task)
        if self._is_cancelled:  # so that what the lane runs next is not cancelled too
            while task.cancelling() > cancelling:
                task.uncancel()
        done, self._done, self._follow = self._done, None, None  # or they would form a reference cycle
        if not is_reported and done is not None:
            self.outcome = value, error
            # By way of the loop: the context of this task must be free when the driver hears of the outcome.
            asyncio.get_running_loop().call_soon(done, value, error, context=Context())

    async def _await(self, task: "asyncio.Task[Any]") -> tuple[Any, BaseException | None]:
        try:
            if self._is_cancelled:
                discard(self._awaitable)
                raise asyncio.CancelledError
            _refuse_other_loop(self._awaitable)
            self._task = task
            return await self._awaitable, None
        except BaseException as exc:  # also SystemExit, which would end the loop: the driver raises it
            return None, exc
        finally:
            self._task = self._awaitable = None


async def await_here(awaitable: Any) -> Any:
    """Await anything that can be awaited, as a coroutine of its own."""
    __tracebackhide__ = True
    _refuse_other_loop(awaitable)
    return await awaitable


def _refuse_other_loop(awaitable: Any) -> None:
    if isinstance(awaitable, asyncio.Future) and awaitable.get_loop() is not asyncio.get_running_loop():
        raise NestedLoopError(
            "the hook returned a future that belongs to another event loop; write the hook as "
            "`async def` and await the future there, or use `await flow.run_async(shared)`."
        )


class Lane:
    """Runs the coroutines of a walk, one after the other, in one task and one context.

    Attributes:
        context: What they run in. It may be entered elsewhere while no job runs.
    """

    __slots__ = ("_is_closed", "_jobs", "_loop", "context")

    def __init__(self, loop: asyncio.AbstractEventLoop, context: Context) -> None:
        """Make a lane on a loop. Its task starts with the first job."""
        self._loop = loop
        self.context = context
        self._jobs = _Jobs(context)
        self._is_closed = False

    def add(self, job: Job) -> None:
        """Run a job after those that were added before. In the loop's thread."""
        self._jobs.add(job)

    def close(self) -> None:
        """End the task once it is idle. From any thread."""
        if not self._is_closed:
            with suppress(RuntimeError):  # the loop is closed, and the task with it
                self._loop.call_soon_threadsafe(self._jobs.close, context=Context())
            self._is_closed = True

    def __del__(self) -> None:
        """End the task of a position that is dropped in the middle of a walk, as a stepper does."""
        self.close()


class _Jobs:
    """The jobs of a lane and its task. It does not refer to the lane, which is so released with its position."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._waiting: deque[Job] = deque()
        self._idle: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    def add(self, job: Job) -> None:
        self._waiting.append(job)
        job.is_added = True
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work(), context=self._context)
            # At exit, a stepper may be in the middle of a flow. Its lane is idle, and no warning is due.
            self._task._log_destroy_pending = False  # type: ignore[attr-defined]
        self._wake()

    def close(self) -> None:
        self._is_closed = True
        self._wake()

    def _wake(self) -> None:
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def _work(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        is_cancelled = False  # by a task group that a hook left open, while no hook ran
        while True:
            while not self._waiting:
                if self._is_closed:
                    return
                self._idle = asyncio.get_running_loop().create_future()
                try:
                    await self._idle
                except asyncio.CancelledError:
                    task.uncancel()
                    is_cancelled = True
                self._idle = None
            if is_cancelled:
                task.cancel()  # raised where the next hook waits first
                is_cancelled = False
            await self._waiting.popleft().run()
