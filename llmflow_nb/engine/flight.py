"""One attempt under way somewhere else, and what a driver gives the scheduler to have it there."""

from asyncio import CancelledError, Task
from collections import deque
from concurrent.futures import Future
from contextvars import Context
from types import CoroutineType
from typing import Any, Protocol

from ..core.errors import ExecutorError
from ..core.text import error_text
from .calls import Call
from .remote import Reply

__all__ = ["CLEAN_UP", "Flight", "Loop", "outcome_of"]

CLEAN_UP = 0.5
"""Seconds that a cancelled task may take to end before it is left to itself."""


class Loop(Protocol):
    """What a driver gives the scheduler to work with.

    Attributes:
        arrived: What has come back and is to be taken up: flight, value, error; or None, call, None from a limiter.
    """

    arrived: deque[Any]

    def spawn(self, flight: "Flight", coroutine: Any, context: Context | None) -> None:
        """Start a coroutine as a task, in this context or a copy of the current one. It ends in ``flight.landed``."""

    def cancel(self, flights: "list[Flight]") -> None:
        """Cancel the tasks of these flights."""

    def post(self, token: Any) -> None:
        """Put something into ``arrived``, from any thread, and wake the driver."""


class Flight:
    """One attempt under way.

    Attributes:
        live: False once its end is of no more interest: it timed out, or the run was stopped.
        handle: The future or task, while it is in progress. A cluster keeps a result, and makes the call again if the
            result gets lost, for as long as anybody refers to its future.
        is_foreign: Whether it runs in the user's executor.
        executor_failed: Whether its error is the executor's, not one of ``exec``.
        shared_writes: What another process wrote to its copy of ``shared``.
    """

    __slots__ = ("call", "executor_failed", "handle", "is_foreign", "live", "loop", "shared_writes", "ticket")

    def __init__(self, call: Call, loop: Loop) -> None:
        self.call = call
        self.loop = loop
        self.live = True
        self.handle: Any = None
        self.is_foreign = self.executor_failed = False
        self.shared_writes: tuple[str, ...] = ()
        self.ticket = call.ticket
        call.ticket = None

    @property
    def is_task(self) -> bool:
        """Whether it runs as a task; else in a thread or an executor, or on the spot."""
        return self.handle is not None and not isinstance(self.handle, Future)

    def landed(self, value: Any, error: BaseException | None) -> None:
        """Come back with the outcome. Called in whatever thread the attempt ended in, even after the run is over."""
        if not self.live:  # else the scheduler does, once it knows whether anything may still be started
            self.drop(value)
        self.loop.post((self, value, error))

    def drop(self, value: Any) -> None:
        """Let go of an outcome that nobody waits for any more."""
        if value.__class__ is CoroutineType:
            value.close()
        self.free()

    def free(self) -> None:
        """Give the slot of the limiter back."""
        if self.ticket is not None:
            self.call.plan.limiter.give_back(self.ticket)

    def task_done(self, task: "Task[Any]") -> None:
        """Come back with the outcome of a task."""
        self.landed(*outcome_of(task))

    def future_done(self, future: "Future[Any]") -> None:
        """Come back with the outcome of a future."""
        self.landed(*self.future_outcome(future))

    def future_outcome(self, future: "Future[Any]") -> tuple[Any, BaseException | None]:
        """Return the value of a future that is done, or its error. An executor's own error is an ``Exception``."""
        if future.cancelled():
            self.executor_failed = True
            return None, ExecutorError("the executor cancelled the call; was it shut down, or its connection lost?")
        error = future.exception()
        if error is not None:
            self.executor_failed = self.is_foreign
            if self.is_foreign and not isinstance(error, Exception):
                error = ExecutorError(f"the executor lost the call: {error_text(error)}")
            return None, error
        value = future.result()
        if value.__class__ is not Reply:
            return value, None
        self.shared_writes = value.shared_writes
        reply: Reply = value
        return reply.open(self.call.plan.path)


def outcome_of(task: "Task[Any]") -> tuple[Any, BaseException | None]:
    """Return the value of a task, or what it raised."""
    if task.cancelled():
        return None, CancelledError()
    error = task.exception()
    return (None, error) if error is not None else (task.result(), None)
