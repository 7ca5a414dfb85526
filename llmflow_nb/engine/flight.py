"""What is in flight: an attempt of a call, or a hook that is awaited; and what a driver gives the scheduler for it."""

from collections import deque
from concurrent.futures import Future
from contextvars import Context
from typing import TYPE_CHECKING, Any, Protocol

from ..core.errors import ExecutorError
from ..core.text import error_text
from .awaitables import discard
from .calls import Call
from .lane import Job, Lane
from .remote import Reply

if TYPE_CHECKING:
    from .scheduler import Strand

__all__ = ["CLEAN_UP", "Flight", "Loop"]

CLEAN_UP = 0.5
"""Seconds that a cancelled task may take to end before it is left to itself."""


class Loop(Protocol):
    """What a driver gives the scheduler to work with.

    Attributes:
        arrived: What has come back and is to be taken up: flight, value, error; or None, call, None from a limiter.
        awaits_itself: Whether the driver is a coroutine, which awaits the hooks of the outermost walk itself.
    """

    arrived: deque[Any]
    awaits_itself: bool

    def lane(self, context: Context) -> Lane:
        """Make a lane on the event loop that jobs run on.

        Raises:
            NestedLoopError: The driver blocks that very loop.
        """

    def spawn(self, job: Job) -> None:
        """Start a job on the event loop."""

    def cancel(self, jobs: list[Job]) -> None:
        """Cancel jobs."""

    def post(self, token: Any) -> None:
        """Put something into ``arrived``, from any thread, and wake the driver."""

    def flush(self) -> None:
        """Start what was spawned so far now, and not only when the driver waits."""


class Flight:
    """One attempt, or one awaited hook, in progress.

    Attributes:
        strand: The strand that waits for it.
        call: The call that this is an attempt of; None for a hook.
        kind: "attempt", "hook", or "pull" for the next item of an asynchronous source; "walk" after a hook that was
            followed by more of its walk.
        live: False once nobody waits for it any more: it timed out, or the run was stopped.
        handle: The future or job, while it is in progress. A cluster keeps a result, and makes the call again if the
            result gets lost, for as long as anybody refers to its future.
        is_foreign: Whether it runs in the user's executor.
        executor_failed: Whether its error is the executor's, not one of ``exec``.
        shared_writes: What another process wrote to its copy of ``shared``.
        ticket: The slot of the limiter that it holds.
    """

    __slots__ = (
        "call",
        "executor_failed",
        "handle",
        "is_foreign",
        "kind",
        "live",
        "loop",
        "shared_writes",
        "strand",
        "ticket",
    )

    def __init__(self, strand: "Strand", loop: Loop, call: Call | None = None, kind: str = "attempt") -> None:
        self.strand = strand
        self.call = call
        self.kind = kind
        self.loop = loop
        self.live = True
        self.handle: Any = None
        self.is_foreign = self.executor_failed = False
        self.shared_writes: tuple[str, ...] = ()
        self.ticket: Any = None
        if call is not None:
            self.ticket, call.ticket = call.ticket, None

    def outcome(self) -> tuple[Any, BaseException | None] | None:
        """Return its value and its error, also where nobody has been told of them yet. None: there is none."""
        handle = self.handle
        if isinstance(handle, Job):
            return handle.outcome
        if not isinstance(handle, Future) or not handle.done() or handle.cancelled():
            return None
        return self._future_outcome(handle)

    def landed(self, value: Any, error: BaseException | None) -> None:
        """Come back with the outcome. Called in whatever thread the attempt ended in, even after the run is over."""
        if not self.live:  # else the scheduler does, once it knows whether anything may still be started
            self.drop(value)
        self.loop.post((self, value, error))

    def drop(self, value: Any) -> None:
        """Release an outcome that nobody waits for any more."""
        discard(value)
        self.free()

    def free(self) -> None:
        """Give the slot of the limiter back."""
        if self.ticket is not None and self.call is not None:
            self.call.plan.limiter.give_back(self.ticket)

    def future_done(self, future: "Future[Any]") -> None:
        """Come back with the outcome of a future."""
        self.landed(*self._future_outcome(future))

    def _future_outcome(self, future: "Future[Any]") -> tuple[Any, BaseException | None]:
        """The value of a future that is done, or its error. An executor's own error is an ``Exception``."""
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
        if type(value) is not Reply:
            return value, None
        self.shared_writes = value.shared_writes
        reply: Reply = value
        assert self.call is not None
        return reply.open(self.call.plan.path)
