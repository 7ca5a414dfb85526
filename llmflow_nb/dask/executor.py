"""The executor for a Dask cluster, on the side of the notebook: it sends calls, and takes their replies."""

import itertools
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import dask.config
from distributed import Client, KilledWorker

from ..core.errors import ExecutorError, RemoteError, SettingError
from ..core.node import BaseNode
from ..core.settings import is_whole
from ..core.text import error_text, quoted
from ..engine.pickling import explain_unsent, pickle_error, portable
from ..engine.remote import RemoteCall, Reply
from .by_value import dumps
from .worker import run_items

__all__ = ["DaskExecutor", "on"]

TASK_SECONDS = 0.2
"""How long a task should take. A task costs about 4 ms, whatever it does."""
LONGEST_TOGETHER = 1.0
"""Calls that take longer travel alone."""
GATHER_SECONDS = 0.002
"""How long calls are collected before they are sent."""
IDLE_SECONDS = 5.0
"""How long the threads that send calls and take replies wait for more before they end."""
ALONE_SECONDS = 20.0
"""How long a cluster may be without a worker. One that is started again takes some seconds."""
RELEASE_SECONDS = 1.0
"""How long to wait until the cluster has forgotten what was taken."""
SCATTERED = 1_000_000
"""A node of more bytes is sent once, and not with each task."""


def on(client: Client, *, resources: dict[str, float] | None = None, batch: int | str = "auto") -> "DaskExecutor":
    """Return an executor for ``run``, ``run_async``, ``submit``, ``resume`` and ``retry`` that calls on a cluster.

    At most ``max_concurrency`` calls of a node are on the cluster at a time, so set it to at least twice the number of
    its threads. An ``async def exec`` runs on an event loop of the worker.

    Args:
        client: A client that is connected to the cluster.
        resources: What each call needs of a worker's resources, such as ``{"GPU": 1}``.
        batch: How many calls travel together. "auto": so many that they take about 0.2 seconds together, and one if a
            call takes more than a second.

    Raises:
        SettingError: ``client`` is no client of Dask, or ``batch`` makes no sense.
        ExecutorError: Versions of packages differ between here and the cluster, or it cannot be reached.
    """
    if not isinstance(client, Client):
        raise SettingError(f"on({quoted(client)}): it must be a distributed.Client.")
    if batch != "auto" and not (is_whole(batch) and int(batch) >= 1):
        raise SettingError(f"on(batch={quoted(batch)}): it must be 'auto', or a number of calls, at least 1.")
    try:
        client.get_versions(check=True)
    except Exception as exc:
        raise ExecutorError(f"the cluster cannot be used: {error_text(exc, 600)}") from None
    return DaskExecutor(client, resources, batch)


class _Sent(NamedTuple):
    """A call on its way.

    Attributes:
        id: Of the attempt.
        node: The node and the name of its hook, pickled. The same object for all calls of a visit.
        payload: The rest of the call, pickled.
        future: Gets the `Reply`.
    """

    id: int
    node: bytes
    payload: bytes
    future: "Future[Reply]"


class DaskExecutor:
    """Sends calls to a Dask cluster (the engine's `RemoteExecutor`). `on` makes one."""

    sends_async = True

    def __init__(self, client: Any, resources: dict[str, float] | None, batch: int | str) -> None:
        self._client, self._resources, self._batch = client, resources, batch
        self._topic = f"llmflow_nb-{os.getpid()}-{id(self)}"
        self._ids = itertools.count(1)
        self._changed = threading.Condition()
        self._waiting: deque[_Sent] = deque()
        self._tasks: dict[str, tuple[Any, list[_Sent]]] = {}  # on the cluster: the future and its calls, by its key
        self._done: list[str] = []  # the keys of those that have ended
        self._sender: threading.Thread | None = None
        self._taker: threading.Thread | None = None
        self._threads = 1  # of the cluster
        self._alone_since: float | None = None  # the clock when the cluster was first seen without a worker
        self._node: tuple[Any, str, bytes] | None = None  # the latest one, with its pickled form
        self._seconds: float | None = None  # of a call, on average
        self._starts: Counter[int] = Counter()  # how often each attempt in progress has started, by id
        self._starts_before: dict[int, int] = {}  # those before its present task was submitted
        self._is_subscribed = False

    def __repr__(self) -> str:
        """Name the cluster."""
        return f"<DaskExecutor on {self._client.scheduler.address if self._client.scheduler else 'no cluster'}>"

    # ---- called by the engine ----------------------------------------------------------------------------------------

    def check(self, node: BaseNode) -> None:
        """Check that a node can be sent.

        Raises:
            SendError: It cannot be pickled. Names the attribute.
        """
        error = pickle_error(portable(node), dumps)
        if error is not None:
            raise explain_unsent(node, (), error, None, dumps)

    def send_call(self, call: RemoteCall) -> "Future[Reply]":
        """Send a call.

        Raises:
            SendError: The node or an argument cannot be pickled.
        """
        node = self._pickled_node(call)
        try:
            payload = dumps((call.args, call.attempt, call.has_shared))
        except Exception as exc:
            error = explain_unsent(call.target, call.args, exc, call.args[0] if call.has_shared else None, dumps)
            if error is exc:
                raise
            raise error from exc
        future: Future[Reply] = Future()
        self._waiting.append(_Sent(next(self._ids), node, payload, future))
        self._wake()
        return future

    def _pickled_node(self, call: RemoteCall) -> bytes:
        """Return the node as bytes, the same object as long as the visit is the same."""
        known = self._node
        if known is None or known[0] is not call.target or known[1] != call.name:
            try:
                pickled = dumps((portable(call.target), call.name))
            except Exception as exc:
                raise explain_unsent(call.target, (), exc, None, dumps) from exc
            known = self._node = call.target, call.name, pickled
        return known[2]

    # ---- the thread that sends ---------------------------------------------------------------------------------------

    def _wake(self) -> None:
        with self._changed:
            if self._sender is None:
                self._sender = _start(self._send_all)
            if self._taker is None:
                self._taker = _start(self._take_all)
            self._changed.notify_all()

    def _send_all(self) -> None:
        """Send calls while there are some, and a while longer."""
        while True:
            with self._changed:
                if not self._waiting and not self._changed.wait_for(lambda: self._waiting, IDLE_SECONDS):
                    self._sender = None
                    return
            time.sleep(GATHER_SECONDS)
            with self._changed:
                # More tasks than two for each thread gain nothing, and calls that wait travel together.
                self._changed.wait_for(self._has_room, IDLE_SECONDS)
                group = self._take_group() if self._has_room() else []
            if group:
                self._send_group(group)

    def _has_room(self) -> bool:
        return len(self._tasks) < 2 * self._threads

    def _take_group(self) -> list[_Sent]:
        """Take the calls that were waiting and have the same node as the first of them."""
        group: list[_Sent] = []
        while self._waiting and (not group or self._waiting[0].node is group[0].node):
            sent = self._waiting.popleft()
            if not sent.future.cancelled():
                group.append(sent)
        return group

    def _send_group(self, group: list[_Sent]) -> None:
        try:
            self._prepare()
            free = max(1, 2 * self._threads - len(self._tasks))
            size = max(1, min(self._most_together(), -(-len(group) // free)))
            node: Any = group[0].node
            if len(node) > SCATTERED:
                node = self._client.scatter(node, broadcast=True, hash=False)  # with a hash, a second one has hung
            for n in range(0, len(group), size):
                self._submit(node, group[n : n + size])
        except Exception as exc:
            for sent in group:
                _fail(sent.future, ExecutorError(f"the cluster takes no calls: {error_text(exc, 400)}"))

    def _prepare(self) -> None:
        if not self._is_subscribed:
            self._client.subscribe_topic(self._topic, self._on_start)
            self._is_subscribed = True
        self._threads = sum(self._client.nthreads().values()) or 1

    def _on_start(self, event: tuple[float, Any]) -> None:
        self._starts.update(event[1])

    def _most_together(self) -> int:
        """Return how many calls may travel together."""
        if self._batch != "auto":
            return int(self._batch)
        if self._seconds is None or self._seconds > LONGEST_TOGETHER:
            return 1
        return max(1, int(TASK_SECONDS / max(self._seconds, 1e-6)))

    def _submit(self, node: Any, task: list[_Sent]) -> None:
        ids, payloads = [sent.id for sent in task], [sent.payload for sent in task]
        future = self._client.submit(
            run_items, node, payloads, ids, self._topic, pure=False, retries=0, resources=self._resources
        )
        self._tasks[future.key] = future, task
        for sent in task:
            self._starts_before[sent.id] = self._starts[sent.id]
            sent.future.add_done_callback(partial(_cancel_if_unwanted, future, task))
        future.add_done_callback(self._on_done)

    # ---- replies -----------------------------------------------------------------------------------------------------

    def _on_done(self, future: Any) -> None:
        """Have a thread take the reply: to take several at once costs as much as one."""
        with self._changed:
            self._done.append(future.key)
            self._changed.notify_all()

    def _take_all(self) -> None:
        """Take replies while calls are on the cluster, and a while longer."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._done, IDLE_SECONDS)
                if not self._done and not self._tasks and not self._waiting:
                    self._taker = None
                    return
                done = [self._tasks.pop(key, None) for key in self._done]
                tasks = [each for each in done if each is not None]
                self._done.clear()
                self._changed.notify_all()
            if not tasks:
                self._check_workers()
                continue
            try:
                self._take([future for future, _ in tasks], [task for _, task in tasks])
            except Exception as exc:  # the connection is lost
                for _, task in tasks:
                    self._on_error(exc, task)

    def _take(self, futures: list[Any], tasks: list[list[_Sent]]) -> None:
        """Take the replies of tasks that have ended."""
        for future, task in zip(futures, tasks, strict=True):
            if future.status not in ("finished", "error", "cancelled"):  # its worker died since: it is made again
                self._tasks[future.key] = future, task
                future.add_done_callback(self._on_done)
        kept = [(future, task) for future, task in zip(futures, tasks, strict=True) if future.key not in self._tasks]
        futures, tasks = [future for future, _ in kept], [task for _, task in kept]
        errors = {future.key: _error_of(future) for future in futures if future.status != "finished"}
        replies = iter(self._client.gather([future for future in futures if future.key not in errors]))
        self._release(futures)
        for future, task in zip(futures, tasks, strict=True):
            if future.key in errors:
                self._on_error(errors[future.key], task)
            else:
                self._on_replies(next(replies), task)

    def _check_workers(self) -> None:
        """Fail the calls in progress if the cluster has had no worker for a while: nobody would ever make them."""
        try:
            has_workers = bool(self._client.nthreads())
        except Exception:  # there is no connection
            has_workers = False
        if has_workers:
            self._alone_since = None
            return
        self._alone_since = self._alone_since or time.monotonic()
        if time.monotonic() - self._alone_since > ALONE_SECONDS:
            self._alone_since = None
            with self._changed:
                tasks, self._tasks = list(self._tasks.values()), {}
            for future, task in tasks:
                with suppress(Exception):  # the connection may be lost
                    future.cancel()
                self._on_error(ExecutorError(f"it has had no worker for {ALONE_SECONDS:g} s"), task)

    def _release(self, futures: list[Any]) -> None:
        """Have the cluster forget tasks, and wait until it has: if a worker died now, it would run them again."""
        for future in futures:
            future.release()
        until = time.monotonic() + RELEASE_SECONDS
        while any(self._client.who_has([future.key for future in futures]).values()) and time.monotonic() < until:
            time.sleep(GATHER_SECONDS)

    def _on_replies(self, replies: list[Reply], task: list[_Sent]) -> None:
        for sent, reply in zip(task, replies, strict=True):
            self._seconds = reply.seconds if self._seconds is None else 0.8 * self._seconds + 0.2 * reply.seconds
            reply.again = max(0, self._forget(sent) - 1)
            _settle(sent.future, reply)

    def _forget(self, sent: _Sent) -> int:
        """Return how often a call was started, which has ended now."""
        self._starts_before.pop(sent.id, None)
        return self._starts.pop(sent.id, 0)

    def _on_error(self, error: Exception, task: list[_Sent]) -> None:
        if not isinstance(error, KilledWorker):
            for sent in task:
                self._forget(sent)
                _fail(sent.future, ExecutorError(f"the cluster lost the call: {error_text(error, 400)}"))
            return
        allowed = dask.config.get("distributed.scheduler.allowed-failures")
        for sent in task:
            if sent.future.cancelled():
                self._forget(sent)
            elif len(task) > 1 or self._starts[sent.id] - self._starts_before[sent.id] <= allowed:
                self._submit(sent.node, [sent])  # it was not in progress each time: another call has killed them
            else:
                starts = self._forget(sent)
                text = f"the worker process died each of the {starts} times that this call ran; its memory or its code?"
                _settle(sent.future, Reply(error=RemoteError(text, "KilledWorker"), again=starts - 1))


def _start(function: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=function, name="llmflow_nb-dask", daemon=True)
    thread.start()
    return thread


def _error_of(future: Any) -> Exception:
    try:
        future.result(timeout=5)
    except Exception as exc:
        return exc
    return ExecutorError("its result is gone")


def _settle(future: "Future[Reply]", reply: Reply) -> None:
    with suppress(InvalidStateError):  # nobody waits for it any more
        future.set_result(reply)


def _fail(future: "Future[Reply]", error: Exception) -> None:
    with suppress(InvalidStateError):
        future.set_exception(error)


def _cancel_if_unwanted(future: Any, task: Iterable[_Sent], _: Any) -> None:
    """Cancel a task if nobody waits for any of its calls any more. One that runs cannot be stopped."""
    if all(sent.future.cancelled() for sent in task):
        with suppress(Exception):  # the connection may be lost
            future.cancel()
