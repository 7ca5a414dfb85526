"""The user's executor, seen from the run: what is in it, and what it failed with. See `remote` for what it runs."""

from concurrent import futures  # which imports its pools when they are first asked for: 20 ms
from concurrent.futures import Executor
from contextvars import Context
from pickle import PicklingError
from typing import Any

from ..core.errors import ExecutorError, SendError, warn
from .calls import Call
from .events import Recorder
from .flight import EXECUTOR, Flight
from .remote import dumps, explain_unsent, send

__all__ = ["UserExecutor"]


class UserExecutor:
    """The calls that are in the executor of the user, and those that wait for a worker of it.

    The queue of a pool would start a call after a stop, and a timeout would count the time in it. So no more calls are
    sent to a pool than it has workers. How many another executor has is not known.
    """

    def __init__(self, executor: Executor, recorder: Recorder) -> None:
        self.sent: dict[Flight, None] = {}
        self.queue: dict[Call, None] = {}
        self._executor = executor
        self._workers = _workers_of(executor)
        # Whether ``future.cancel()`` returns True only for a call that has not started and never will. Futures of Dask
        # also do so for a call that is running, and keeps running.
        self.cancels_exactly = isinstance(executor, futures.ThreadPoolExecutor | futures.ProcessPoolExecutor)
        self._recorder = recorder
        self._error: ExecutorError | None = None
        self._warned_paths: set[str] = set()

    @property
    def is_full(self) -> bool:
        """Whether all workers are busy."""
        return len(self.sent) >= self._workers

    def send(self, flight: Flight, context: Context, name: str, args: tuple[Any, ...]) -> None:
        """Submit an attempt. No local variable refers to the future: the frames of an error would keep it.

        Raises:
            SendError: The node or an argument cannot be pickled.
            Exception: The executor accepts no calls.
        """
        call = flight.call
        assert call is not None
        if self._error is not None:
            raise ExecutorError(f"not sent to the executor, which failed before: {self._error}")
        flight.where = EXECUTOR
        shared = call.branch.position.shared
        flight.handle = send(self._executor, context, call.target, name, args, call.attempts - 1, shared)
        self.sent[flight] = None

    def explain(self, call: Call, error: Exception) -> Exception:
        """Return the error to fail a call with, given the executor's. Another attempt would meet the same error."""
        if isinstance(error, ExecutorError) and self._error is None:
            self._error = error  # a cluster that is gone answers every further call only after its timeout
        if isinstance(error, TypeError | AttributeError | PicklingError) and not isinstance(error, SendError):
            shared = call.branch.position.shared
            _, args, _ = call.hook(shared)
            return explain_unsent(call.target, args, error, shared, dumps)
        return error

    def warn_of_writes(self, path: str, writes: tuple[str, ...]) -> None:
        """Say once for a node that what its exec wrote to ``shared`` is lost."""
        if path not in self._warned_paths:
            self._warned_paths.add(path)
            text = (
                f"{path}: exec wrote to shared[{writes[0]}] in another process, where shared is a copy: the write is "
                "lost; return the value, and write it to shared in post."
            )
            self._recorder.add_problem(text)
            warn(text)


def _workers_of(executor: Executor) -> float:
    """Return how many calls a pool of the standard library runs at once; infinity for other executors."""
    if isinstance(executor, futures.ThreadPoolExecutor | futures.ProcessPoolExecutor):
        workers: float = executor._max_workers  # type: ignore[union-attr]
        return workers
    return float("inf")
