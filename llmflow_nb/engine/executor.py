"""The user's executor, as the run sees it: its calls and its failure. What it runs is in `remote`."""

from concurrent import futures  # imports its pools at their first use, which takes 20 ms
from concurrent.futures import Executor
from contextvars import Context
from math import inf
from pickle import PicklingError
from typing import Any

from ..core.errors import ExecutorError, SendError, warn
from .calls import Call
from .events import Recorder
from .flight import EXECUTOR, Flight
from .pickling import dumps, explain_unsent
from .remote import Reply, send

__all__ = ["UserExecutor"]


class UserExecutor:
    """The calls that were sent to the user's executor, and those that wait for one of its workers.

    A pool gets only as many calls as it has workers: it would start a queued call even after a stop, and a timeout
    would count the time in the queue. How many workers another executor has is unknown, so it gets all calls at once.
    """

    def __init__(self, executor: Executor, recorder: Recorder) -> None:
        self.sent: dict[Flight, None] = {}
        self.queue: dict[Call, None] = {}
        self._executor = executor
        # Whether ``future.cancel()`` returns True only for a call that has not started and never will. A future of Dask
        # also returns True for a call that is running and keeps running.
        self.cancels_exactly = isinstance(executor, futures.ThreadPoolExecutor | futures.ProcessPoolExecutor)
        self.sends_async = getattr(executor, "sends_async", False)
        self._workers: float = executor._max_workers if self.cancels_exactly else inf  # type: ignore[attr-defined]
        self._recorder = recorder
        self._error: ExecutorError | None = None
        self._warned_paths: set[str] = set()

    @property
    def is_full(self) -> bool:
        """Whether all workers are busy."""
        return len(self.sent) >= self._workers

    def send(self, flight: Flight, context: Context, name: str, args: tuple[Any, ...]) -> None:
        """Submit an attempt. No local variable holds the future, or the frames of an error would keep it.

        Raises:
            SendError: The node or an argument cannot be pickled.
            Exception: The executor accepts no calls.
        """
        call = flight.call
        assert call is not None
        if self._error is not None:
            raise ExecutorError(f"the call was not made, because the executor had failed: {self._error}")
        flight.where = EXECUTOR
        shared = call.branch.position.shared
        flight.handle = send(self._executor, context, call.target, name, args, call.attempts - 1, shared)
        self.sent[flight] = None

    def explain(self, call: Call, error: Exception) -> Exception:
        """Return the error of a call that the executor refused or lost. It names what cannot be pickled."""
        if isinstance(error, ExecutorError) and self._error is None:
            self._error = error  # no call is sent any more: a lost cluster lets each one wait for its timeout
        if isinstance(error, TypeError | AttributeError | PicklingError) and not isinstance(error, SendError):
            shared = call.branch.position.shared
            _, args, _ = call.hook(shared)
            return explain_unsent(call.target, args, error, shared, dumps)
        return error

    def note(self, call: Call, reply: Reply) -> None:
        """Note where a call ran, and how often it ran there. Warn if it wrote to a copy of ``shared``."""
        if reply.worker:
            call.batch.outcomes.workers[call.index] = reply.worker
        for usage in reply.usage:
            call.append(usage)
        self._recorder.reexecuted += reply.again
        if reply.shared_writes:
            self._warn_of_writes(call.plan.path, reply.shared_writes)

    def _warn_of_writes(self, path: str, writes: tuple[str, ...]) -> None:
        """Warn once for a node that what its exec wrote to ``shared`` is lost."""
        if path not in self._warned_paths:
            self._warned_paths.add(path)
            text = (
                f"{path}: exec wrote to shared[{writes[0]}] in another process, where shared is a copy: the write is "
                "lost. Return the value from exec, and write it to shared in post."
            )
            self._recorder.add_problem(text)
            warn(text)
