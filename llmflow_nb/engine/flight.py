"""A flight: one attempt of a call, or one awaited hook, in progress. And the loop that a driver provides for it."""

from asyncio import CancelledError, Task, get_running_loop
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context
from types import CoroutineType
from typing import Any, Protocol

from ..core.errors import ExecutorError
from ..core.text import error_text
from .awaitables import discard
from .branch import Branch
from .calls import Call
from .lane import Job, Lane, await_here
from .remote import Reply

__all__ = ["CANCEL_SECONDS", "DRIVER", "EXECUTOR", "HERE", "LANE", "TASK", "THREAD", "Flight", "Loop"]

CANCEL_SECONDS = 0.5
"""Seconds that a cancelled task may take to end before the run ends without it."""

# Where a flight runs: on the spot; awaited by the driver; in the lane of its walk; in a task or a thread of its own; in
# the user's executor.
HERE, DRIVER, LANE, TASK, THREAD, EXECUTOR = "here", "driver", "lane", "task", "thread", "executor"


class Loop(Protocol):
    """The event loop and the queue of arrivals, which a driver provides for its scheduler."""

    arrived: deque[Any]
    """What has ended and is to be processed: flight, value, error; or None, call, None from a limiter."""

    awaits_itself: bool
    """Whether the driver is a coroutine, which awaits the hooks of the outermost walk itself."""

    context: Context
    """An empty one, for callbacks. Making one for each would cost more than the callback."""

    def lane(self, context: Context) -> Lane:
        """Make a lane on the event loop.

        Raises:
            NestedLoopError: The driver blocks that very loop.
        """

    def start(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function in the thread of the event loop, which starts a coroutine.

        Raises:
            NestedLoopError: The driver blocks that very loop.
        """

    def cancel(self, flights: "list[Flight]") -> None:
        """Cancel flights that run as coroutines."""

    def post(self, arrival: Any) -> None:
        """Put something into ``arrived``, from any thread, and wake the driver."""

    def flush(self) -> None:
        """Start everything that `start` has collected now, before the driver waits."""


class Flight:
    """One attempt, or one awaited hook, in progress."""

    __slots__ = (
        "branch",
        "call",
        "handle",
        "is_awaited",
        "is_refused",
        "kind",
        "loop",
        "reply",
        "ticket",
        "where",
    )

    def __init__(self, branch: Branch, loop: Loop, call: Call | None = None, kind: str = "attempt") -> None:
        self.branch = branch  # the branch that waits for it
        self.loop = loop
        self.call = call  # the call that this is an attempt of; None for a hook
        # "attempt"; "hook"; "read" for the next item of an async source; "walk" after a hook that was followed by more
        # of its walk.
        self.kind = kind
        self.is_awaited = True  # until it is released, or has been processed
        self.where = HERE
        # The future, task or job, while it is in progress. A cluster keeps a result, and makes the call again if the
        # result gets lost, for as long as anybody refers to its future.
        self.handle: Any = None
        self.is_refused = False  # its error comes from where it was to run, and not from the hook
        self.reply: Reply | None = None  # of another process
        self.ticket = None if call is None else call.ticket  # the slot of the limiter that it holds

    def start_task(self, awaitable: Any, context: Context | None) -> None:
        """Start a task for it, in the thread of the event loop."""
        if type(awaitable) is not CoroutineType:
            awaitable = await_here(awaitable)
        self.handle = task = get_running_loop().create_task(awaitable, context=context)
        task.add_done_callback(self.task_done, context=self.loop.context)

    def cancel(self) -> None:
        """Cancel the task or job, in the thread of the event loop. One that was never started ends at once.

        An interrupt may come before the loop has been told of it. Its slot of the limiter is free then.
        """
        handle = self.handle
        if handle is None or (type(handle) is Job and not handle.is_added):
            self.landed(None, CancelledError())
        else:
            handle.cancel()

    def outcome(self) -> tuple[Any, BaseException | None] | None:
        """Return its value and its error, also before they have arrived. None: it has not ended."""
        handle = self.handle
        if isinstance(handle, Job):
            return handle.outcome
        if handle is None or not handle.done():
            return None
        if isinstance(handle, Future):
            return None if handle.cancelled() else self._future_outcome(handle)
        return _task_outcome(handle)

    def landed(self, value: Any, error: BaseException | None) -> None:
        """Report the outcome. Called in whatever thread the flight ended in, even after the run is over."""
        if not self.is_awaited:  # else the scheduler does, once it knows whether anything may be started
            self.drop(value)
        self.loop.post((self, value, error))

    def drop(self, value: Any) -> None:
        """Discard an outcome that nobody waits for any more."""
        discard(value)
        self.free()

    def free(self) -> None:
        """Give the slot of the limiter back."""
        if self.ticket is not None and self.call is not None:
            self.call.plan.settings.limiter.give_back(self.ticket)

    def task_done(self, task: "Task[Any]") -> None:
        """Report the outcome of a task."""
        if task.cancelled() or task.exception() is not None:
            self.landed(*_task_outcome(task))
        else:
            self.landed(task.result(), None)

    def future_done(self, future: "Future[Any]") -> None:
        """Report the outcome of a future."""
        self.landed(*self._future_outcome(future))

    def _future_outcome(self, future: "Future[Any]") -> tuple[Any, BaseException | None]:
        """Return the value of a future that is done, or its error. An executor's own error is an ``Exception``."""
        if future.cancelled():
            self.is_refused = True
            return None, ExecutorError("the executor cancelled the call; was it shut down, or its connection lost?")
        error = future.exception()
        if error is not None:
            is_foreign = self.where is EXECUTOR
            self.is_refused = is_foreign
            if is_foreign and not isinstance(error, Exception):
                error = ExecutorError(f"the executor lost the call: {error_text(error)}")
            return None, error
        value = future.result()
        if type(value) is not Reply:
            return value, None
        self.reply = reply = value
        assert self.call is not None
        return reply.open(self.call.plan.path)


def _task_outcome(task: "Task[Any]") -> tuple[Any, BaseException | None]:
    if task.cancelled():
        try:
            task.result()
        except CancelledError as exc:  # with its text
            return None, exc
    error = task.exception()
    return (task.result(), None) if error is None else (None, error)
