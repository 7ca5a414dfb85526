"""The executor for a Dask cluster, on the side of the notebook: it sends calls, and takes their replies."""

import inspect
import itertools
import threading
import time
from collections import deque
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import NamedTuple

from distributed import Client, LocalCluster

from ..core.errors import ExecutorError, SettingError
from ..core.node import BaseNode
from ..core.settings import is_whole
from ..core.text import error_text, quoted
from ..engine.pickling import explain_unsent, pickle_error, portable
from ..engine.remote import RemoteCall, Reply
from .by_value import dumps
from .interrupts import keep_workers
from .tasks import Ended, SentCall, Tasks
from .versions import differences

__all__ = ["DaskExecutor", "on"]

TASK_SECONDS = 0.2
"""How long a task should take. A task costs about 4 ms, whatever it does."""
GATHER_SECONDS = 0.002
"""How long calls and replies are collected before they are sent on."""
IDLE_SECONDS = 5.0
"""How long to wait for calls and replies. Then the cluster is asked how it is, or the thread ends."""


def on(client: Client, *, resources: dict[str, float] | None = None, batch: int | str = "auto") -> "DaskExecutor":
    """Return an executor for ``run``, ``run_async``, ``submit``, ``resume`` and ``retry`` that calls on a cluster.

    At most ``max_concurrency`` calls of a node are on the cluster at a time, so set it to at least twice the number of
    its threads. An ``async def exec`` runs on an event loop of the worker.

    Args:
        client: A client that is connected to the cluster.
        resources: What each call needs of a worker's resources, such as ``{"GPU": 1}``. If no worker has them, the call
            waits for one.
        batch: How many calls may travel together. "auto": as many as take about 0.2 seconds together.

    Raises:
        SettingError: ``client`` is no client of Dask, its workers are threads of this process, or ``batch`` makes no
            sense.
        ExecutorError: The cluster cannot be reached, or has another version of Python (its first two numbers),
            llmflow_nb, dask, distributed, cloudpickle or msgpack. Names the package.
    """
    if not isinstance(client, Client) or client.asynchronous:
        raise SettingError(f"on({quoted(client)}): it must be a distributed.Client, and not an asynchronous one.")
    if isinstance(client.cluster, LocalCluster) and not client.cluster.processes:
        # A class that is unpickled where it was pickled gets methods that see no edited global any more.
        raise SettingError(
            f"on({quoted(client)}): the workers are threads of this process. Leave out executor=, since calls run in "
            "threads anyway, or start the cluster with processes=True."
        )
    if batch != "auto" and not (is_whole(batch) and int(batch) >= 1):
        raise SettingError(f"on(batch={quoted(batch)}): it must be 'auto', or a number of calls, at least 1.")
    try:
        different = differences(client)
        keep_workers(client)
    except Exception as exc:
        raise ExecutorError(f"the cluster cannot be used: {error_text(exc, 600)}") from None
    if different:
        raise ExecutorError(
            f"the cluster cannot be used: {'; '.join(different)}; install the same versions everywhere."
        )
    return DaskExecutor(client, resources, batch)


class _Visit(NamedTuple):
    """The node of a visit and its hook, pickled. The calls of a visit have the same ``pickled`` object."""

    node: BaseNode
    hook: str
    is_async: bool
    pickled: bytes


class DaskExecutor:
    """Sends calls to a Dask cluster (the engine's `RemoteExecutor`). `on` makes one.

    One thread sends the calls and hands out their replies. It ends when it has had nothing to do for a while.
    """

    sends_async = True

    def __init__(self, client: Client, resources: dict[str, float] | None, batch: int | str) -> None:
        self._client, self._batch = client, batch
        self._arrived: SimpleQueue[SentCall | Ended] = SimpleQueue()  # calls to send, and tasks that have ended
        self._waiting: deque[SentCall] = deque()  # the calls that are not on the cluster yet
        self._tasks = Tasks(client, resources, self._arrived.put)
        self._thread: threading.Thread | None = None
        self._thread_lock = threading.Lock()
        self._ids = itertools.count(1)
        self._visit: _Visit | None = None  # the latest

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
        visit = self._visit_of(call)
        try:
            payload = dumps((call.args, call.attempt, call.has_shared))
        except Exception as exc:
            error = explain_unsent(call.target, call.args, exc, call.args[0] if call.has_shared else None, dumps)
            if error is exc:
                raise
            raise error from exc
        sent = SentCall(next(self._ids), visit.pickled, visit.is_async, payload, Future())
        with self._thread_lock:
            self._arrived.put(sent)
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_and_take, name="llmflow_nb-dask", daemon=True)
                self._thread.start()
        return sent.future

    def _visit_of(self, call: RemoteCall) -> _Visit:
        visit = self._visit
        if visit is None or visit.node is not call.target or visit.hook != call.name:
            try:
                pickled = dumps((portable(call.target), call.name))
            except Exception as exc:
                raise explain_unsent(call.target, (), exc, None, dumps) from exc
            is_async = inspect.iscoroutinefunction(getattr(call.target, call.name))
            visit = self._visit = _Visit(call.target, call.name, is_async, pickled)
        return visit

    # ---- the thread that sends calls and hands out replies -----------------------------------------------------------

    def _send_and_take(self) -> None:
        tasks, waiting = self._tasks, self._waiting
        while True:
            arrived = self._next_arrivals()
            waiting.extend(each for each in arrived if isinstance(each, SentCall))
            tasks.take([each for each in arrived if isinstance(each, Ended)])
            if (waiting and tasks.room > 0) or not arrived:
                self._send_waiting()
            with self._thread_lock:
                if not arrived and not waiting and tasks.is_empty and self._arrived.empty():
                    self._thread = None
                    return

    def _next_arrivals(self) -> list[SentCall | Ended]:
        """Wait for something to do, and collect what comes within a moment: many cost the cluster as much as one."""
        try:
            arrived = [self._arrived.get(timeout=IDLE_SECONDS)]
        except Empty:
            return []
        time.sleep(GATHER_SECONDS)
        while not self._arrived.empty():
            arrived.append(self._arrived.get())
        return arrived

    def _send_waiting(self) -> None:
        """Send the calls that there is room for. Fail all calls if the cluster is gone."""
        tasks, group = self._tasks, list[SentCall]()
        if not self._waiting and tasks.is_empty:
            return
        try:
            tasks.check_cluster()
            while tasks.room > 0 and (group := self._take_group(tasks.room * self._most_together())):
                tasks.submit(group, -(-len(group) // tasks.room))
        except Exception as exc:
            tasks.fail_all(exc, [*group, *self._waiting])
            self._waiting.clear()

    def _take_group(self, most: int) -> list[SentCall]:
        """Take calls that wait and have the same node as the first of them."""
        group: list[SentCall] = []
        while self._waiting and len(group) < most and (not group or self._waiting[0].node is group[0].node):
            call = self._waiting.popleft()
            if not call.future.cancelled():
                group.append(call)
        return group

    def _most_together(self) -> int:
        """Return how many calls may travel together."""
        if self._batch != "auto":
            return int(self._batch)
        seconds = self._tasks.call_seconds
        return 1 if seconds is None else max(1, int(TASK_SECONDS / max(seconds, 1e-6)))
