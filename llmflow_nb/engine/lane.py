"""Where coroutines run: each in a task of its own, or all those of one walk in the same task, its *lane*.

The async hooks of a visit have to share a task and a context: a task group or a session that ``prep`` opens is closed
in ``post``, and a context variable that ``prep`` sets is read in ``exec``. So a walk has one lane, which runs what it
is given one after the other and waits in between. A lane and its jobs live in the thread of one event loop; only
`Lane.__del__` may run elsewhere.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from types import CoroutineType
from typing import Any

from ..core.errors import NestedLoopError
from .awaitables import discard

__all__ = ["Job", "Lane"]

Done = Callable[[Any, BaseException | None], object]


class Job:
    """One awaitable to run on an event loop.

    Attributes:
        lane: The lane that it runs in; None where it has a task of its own.
    """

    __slots__ = ("_awaitable", "_context", "_done", "_follow", "_is_cancelled", "_own", "_reported", "_task", "lane")

    def __init__(
        self,
        awaitable: Any,
        done: Done,
        context: Context | None,
        lane: "Lane | None" = None,
        follow: Callable[[Any, BaseException | None], Any] | None = None,
    ) -> None:
        """Take the awaitable, and what to call with its outcome.

        Args:
            awaitable: What to await.
            done: Called with the value and the error, in the loop's thread, once the job has left its context.
            context: The context of the job's own task. None: a copy of the current one. Unused in a lane.
            lane: The lane to run in. None: a task of its own.
            follow: Called with the value and the error, within the task, in place of ``done``: it returns what is to be
                awaited there next, or None at the end. Not called once the job is cancelled.
        """
        self._awaitable, self._context = awaitable, context
        self._done: Done | None = done
        self._follow = follow
        self.lane = lane
        self._own: asyncio.Task[Any] | None = None
        self._task: asyncio.Task[Any] | None = None
        self._is_cancelled = False
        self._reported: tuple[Any, BaseException | None] | None = None

    @property
    def outcome(self) -> tuple[Any, BaseException | None] | None:
        """Its value and its error, also before anybody was told of them; None while there is none. From any thread."""
        own = self._own
        if self._reported is None and own is not None and own is self._task and own.done():
            return _outcome_of(own)
        return self._reported

    def start(self) -> None:
        """Start, or wait for the lane's turn."""
        if self.lane is not None:
            self.lane.state.add(self)
            return
        # The task is kept, since a loop refers to its tasks only weakly.
        loop = asyncio.get_running_loop()
        if type(self._awaitable) is CoroutineType and not self._is_cancelled:  # mostly: without the 10 us of `run`
            self._own = self._task = loop.create_task(self._awaitable, context=self._context)
            self._own.add_done_callback(self._task_done)
        else:
            self._own = loop.create_task(self.run(), context=self._context)

    def _task_done(self, task: "asyncio.Task[Any]") -> None:
        """Report the outcome of a task that is the awaitable itself."""
        done, self._done, self._task, self._awaitable, self._own = self._done, None, None, None, None
        self._reported = _outcome_of(task)
        if done is not None:
            done(*self._reported)

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
        value, error = await self._outcome(task)
        is_reported = False
        while self._follow is not None and not self._is_cancelled and not is_reported:
            self._awaitable = self._follow(value, error)
            if self._awaitable is None:
                is_reported = True
            else:
                value, error = await self._outcome(task)
        if self._is_cancelled:  # so that what the lane runs next is not cancelled too
            while task.cancelling() > cancelling:
                task.uncancel()
        done, self._done, self._follow, self.lane = self._done, None, None, None  # no cycle through who waits for it
        if not is_reported and done is not None:
            self._reported = value, error
            # By way of the loop: the context of this task must be free when the driver hears of the outcome.
            asyncio.get_running_loop().call_soon(done, value, error, context=Context())

    async def _outcome(self, task: "asyncio.Task[Any]") -> tuple[Any, BaseException | None]:
        try:
            if self._is_cancelled:
                discard(self._awaitable)
                raise asyncio.CancelledError
            _refuse_other_loop(self._awaitable)
            self._task = task
            return await self._awaitable, None
        except BaseException as exc:  # also SystemExit, which would break the loop off: the driver raises it
            return None, exc
        finally:
            self._task = self._awaitable = None


def _outcome_of(task: "asyncio.Task[Any]") -> tuple[Any, BaseException | None]:
    if task.cancelled():
        try:
            task.result()
        except asyncio.CancelledError as exc:  # with its text
            return None, exc
    error = task.exception()
    return (None, error) if error is not None else (task.result(), None)


def _refuse_other_loop(awaitable: Any) -> None:
    if isinstance(awaitable, asyncio.Future) and awaitable.get_loop() is not asyncio.get_running_loop():
        raise NestedLoopError(
            "the hook returned a future of another event loop than the one that its run uses; write the hook as "
            "`async def` and await the future there, or use `await flow.run_async(shared)`."
        )


class Lane:
    """One task and one context in which the coroutines of a walk run, one after the other.

    Attributes:
        context: What they run in. It may be entered elsewhere while no job runs.
    """

    __slots__ = ("__weakref__", "_loop", "context", "state")

    def __init__(self, loop: asyncio.AbstractEventLoop, context: Context) -> None:
        """Make a lane on a loop. Its task starts with the first job."""
        self._loop = loop
        self.context = context
        self.state = _Jobs(context)

    def close(self) -> None:
        """End the task once it is idle. From any thread."""
        with suppress(RuntimeError):  # the loop is closed, and the task with it
            self._loop.call_soon_threadsafe(self.state.close, context=Context())

    def __del__(self) -> None:
        """A position that is dropped in the middle of a walk, as a stepper does, leaves no task behind."""
        self.close()


class _Jobs:
    """What the task of a lane works on. It does not refer to its lane, which so ends with its position."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._waiting: deque[Job] = deque()
        self._idle: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    def add(self, job: Job) -> None:
        self._waiting.append(job)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work(), context=self._context)
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
