"""The tasks on the cluster. Each has some calls of one node, and is released as soon as it has ended."""

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from distributed import KilledWorker
from distributed.utils import sync

from ..core.errors import ExecutorError, RemoteError
from ..core.text import error_text
from ..engine.remote import Reply
from .worker import run_items

__all__ = ["Ended", "SentCall", "Tasks"]

ALONE_SECONDS = 20.0
"""How long a cluster may be without a worker. One that is started again takes some seconds."""
CHECK_SECONDS = 1.0
"""How often the cluster is asked for its threads."""
SILENT_SECONDS = 12.0
"""How long the scheduler may take to answer."""
RELEASE_SECONDS = 1.0
"""How long to wait until the cluster has forgotten the tasks that have ended."""
POLL_SECONDS = 0.002
SCATTERED = 1_000_000
"""A node of more bytes is sent once, and not with each task."""


@dataclass(slots=True, eq=False)
class SentCall:
    """An attempt on its way."""

    id: int
    node: bytes  # the node and the name of its hook, pickled; the same object for all calls of a visit
    is_async: bool  # whether the hook is an ``async def``
    payload: bytes  # the rest of the call, pickled
    future: "Future[Reply]"
    starts: int = 0  # how often a worker has started it
    starts_before: int = 0  # those before its present task was submitted


class Task(NamedTuple):
    """A task on the cluster: its future there, and its calls."""

    future: Any
    calls: list[SentCall]


class Ended(NamedTuple):
    """A task that has ended: its key, and its replies or its error."""

    key: str
    replies: list[Reply] | None
    error: BaseException | None


class Tasks:
    """The tasks on the cluster. One thread calls its methods."""

    def __init__(self, client: Any, resources: dict[str, float] | None, on_end: Callable[[Ended], None]) -> None:
        """``on_end``: takes a task that has ended, in whatever thread, and has `take` called with it."""
        self.call_seconds: float | None = None  # of a call on its worker, on average
        self._client, self._resources, self._on_end = client, resources, on_end
        self._topic = f"llmflow_nb-{os.getpid()}-{id(self)}"
        self._tasks: dict[str, Task] = {}  # by key
        self._calls: dict[int, SentCall] = {}  # those of the tasks, by id
        self._threads = 1  # of the cluster
        self._check_at = 0.0  # the clock when they are to be counted again
        self._alone_since: float | None = None  # the clock when the cluster was first seen without a worker

    @property
    def room(self) -> int:
        """How many more tasks may be on the cluster: two for each of its threads. More would gain nothing."""
        return 2 * self._threads - len(self._tasks)

    @property
    def is_empty(self) -> bool:
        """Whether no task is on the cluster."""
        return not self._tasks

    # ---- submitting --------------------------------------------------------------------------------------------------

    def submit(self, calls: list[SentCall], size: int) -> None:
        """Submit calls of one node, in tasks of ``size`` calls."""
        node: Any = calls[0].node
        if len(node) > SCATTERED:
            node = self._client.scatter(node, broadcast=True, hash=False)  # with a hash, a second one has hung
        for n in range(0, len(calls), size):
            self._submit(node, calls[n : n + size])

    def _submit(self, node: Any, calls: list[SentCall]) -> None:
        for call in calls:
            self._calls[call.id] = call
            call.starts_before = call.starts
        ids, payloads = [call.id for call in calls], [call.payload for call in calls]
        future = self._client.submit(
            run_items, node, payloads, ids, self._topic, calls[0].is_async,
            pure=False, retries=0, resources=self._resources,
        )  # fmt: skip
        self._tasks[future.key] = Task(future, calls)
        for call in calls:
            call.future.add_done_callback(lambda done: _cancel_if_unwanted(done, future, calls))
        loop = self._client.loop.asyncio_loop
        asyncio.run_coroutine_threadsafe(_wait(future), loop).add_done_callback(
            lambda done: self._on_end(done.result())
        )

    # ---- taking replies ----------------------------------------------------------------------------------------------

    def take(self, ended: list[Ended]) -> None:
        """Hand out the outcomes of tasks that have ended, once the cluster has forgotten them."""
        known = [(each, self._tasks.pop(each.key)) for each in ended if each.key in self._tasks]
        self._forget([task.future for each, task in known if each.error is None])
        for each, task in known:
            if each.replies is None:
                assert each.error is not None
                self._on_error(each.error, task.calls)
                continue
            for call, reply in zip(task.calls, each.replies, strict=False):
                average = self.call_seconds
                self.call_seconds = reply.seconds if average is None else 0.8 * average + 0.2 * reply.seconds
                reply.again = max(0, call.starts - 1)
                self._settle(call, reply)
            for call in task.calls[len(each.replies) :]:  # the worker took the task for cancelled
                self._submit_again(call)

    def _forget(self, futures: list[Any]) -> None:
        """Have the cluster forget tasks, and wait until it has: if a worker died now, it would run them again."""
        for future in futures:
            future.release()
        keys, until = [future.key for future in futures], time.monotonic() + RELEASE_SECONDS
        with suppress(ExecutorError):  # the cluster is gone, and cannot run anything again
            while any(self._ask(self._client.who_has, RELEASE_SECONDS, keys).values()):
                if time.monotonic() > until:
                    return
                time.sleep(POLL_SECONDS)

    def _on_error(self, error: BaseException, calls: list[SentCall]) -> None:
        for call in calls:
            if not isinstance(error, KilledWorker):
                self._fail(call, error)
            elif len(calls) > 1 or call.starts - call.starts_before <= error.allowed_failures:
                self._submit_again(call)  # another call may have killed the workers
            else:
                text = f"the worker process died each of the {call.starts} times that this call ran"
                remote = RemoteError(f"{text}; its memory or its code?", "KilledWorker")
                self._settle(call, Reply(error=remote, again=call.starts - 1))

    def _submit_again(self, call: SentCall) -> None:
        """Submit a call again, alone."""
        if call.future.cancelled():
            self._calls.pop(call.id, None)
            return
        try:
            self.submit([call], 1)
        except Exception as exc:
            self._fail(call, exc)

    def _settle(self, call: SentCall, reply: Reply) -> None:
        self._calls.pop(call.id, None)
        with suppress(InvalidStateError):  # nobody waits for it any more
            call.future.set_result(reply)

    def _fail(self, call: SentCall, error: BaseException) -> None:
        self._calls.pop(call.id, None)
        if isinstance(error, CancelledError | asyncio.CancelledError):
            text = "its task was cancelled; was the client closed, or the connection to the scheduler lost?"
        else:
            text = str(error) if isinstance(error, ExecutorError) else error_text(error, 400)
        with suppress(InvalidStateError):
            call.future.set_exception(ExecutorError(f"the cluster lost the call: {text}"))

    # ---- a cluster that is gone --------------------------------------------------------------------------------------

    def check_cluster(self) -> None:
        """Count the threads of the cluster, and have the scheduler report each start of a call.

        Nothing is done if that was a moment ago. It is repeated, since a scheduler that was restarted knows nothing.

        Raises:
            ExecutorError: The cluster is gone, or has had no worker for a while.
        """
        if time.monotonic() < self._check_at:
            return
        self._check_at = time.monotonic() + CHECK_SECONDS
        self._threads = sum(self._ask(self._client.nthreads, SILENT_SECONDS).values())
        self._client.subscribe_topic(self._topic, self._on_starts)
        if self._threads:
            self._alone_since = None
            return
        self._threads = 1
        self._alone_since = self._alone_since or time.monotonic()
        if time.monotonic() - self._alone_since > ALONE_SECONDS:
            self._alone_since = None
            text = f"it has had no worker for {ALONE_SECONDS:g} s"
            raise ExecutorError(f"{text}; client.wait_for_workers(1) waits for one")

    def _on_starts(self, event: tuple[float, list[int]]) -> None:
        for id in event[1]:
            if id in self._calls:
                self._calls[id].starts += 1

    def _ask(self, method: Callable[..., Any], seconds: float, *args: Any) -> Any:
        """Ask the scheduler by a method of the client. Most of them have no timeout of their own.

        Raises:
            ExecutorError: The scheduler does not answer, or the connection is lost.
        """
        try:
            return sync(self._client.loop, method, *args, callback_timeout=seconds)
        except TimeoutError:
            raise ExecutorError(f"its scheduler has not answered for {seconds:g} s") from None
        except Exception as exc:  # a closed client has lost its parts: it raises AttributeError and others
            is_closed = self._client.status in ("closing", "closed")
            raise ExecutorError("its client was closed" if is_closed else error_text(exc, 400)) from exc

    def fail_all(self, error: Exception, waiting: list[SentCall]) -> None:
        """Fail the calls that are on the cluster, and those that wait to be sent."""
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            _cancel(task.future)
        for call in [*(call for task in tasks for call in task.calls), *waiting]:
            self._fail(call, error)


async def _wait(future: Any) -> Ended:
    """Wait for the end of a task, on the event loop of the client."""
    try:
        return Ended(future.key, await future, None)
    except (Exception, asyncio.CancelledError) as exc:
        return Ended(future.key, None, exc)


def _cancel_if_unwanted(done: "Future[Reply]", future: Any, calls: list[SentCall]) -> None:
    """Cancel a task if nobody waits for any of its calls any more. One that runs cannot be stopped."""
    if done.cancelled() and all(call.future.cancelled() for call in calls):
        _cancel(future)


def _cancel(future: Any) -> None:
    with suppress(Exception):  # the connection may be lost
        future.cancel()
