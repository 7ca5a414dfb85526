"""What the engine's tests share: a batch node in every way of running it, and signals for threads and tasks."""

import asyncio
import threading
from typing import Any

from llmflow_nb import BatchFlow, BatchNode
from llmflow_nb.engine.limiter import Ticket

PATIENCE = 10  # seconds after which a test that waits for something gives up

MODES = ["inline", "threads", "tasks", "awaited", "awaited threads"]
SIDE_BY_SIDE = MODES[1:]
DRIVERS = ["run", "awaited"]


class Items(BatchNode):
    """Runs over ``shared["items"]`` and leaves its results in ``shared["results"]``."""

    def prep(self, shared):
        return shared["items"]

    def post(self, shared, prep_res, exec_res):
        shared["results"] = exec_res


def items_node(mode: str, work: Any, **settings: Any) -> BatchNode:
    """A batch node whose ``exec`` is ``work(node, item)``, which may return a coroutine to be awaited."""

    class Blocking(Items):
        def exec(self, item):
            return work(self, item)

    class Awaited(Items):
        async def exec(self, item):
            value = work(self, item)
            return await value if asyncio.iscoroutine(value) else value

    if mode != "inline":
        settings.setdefault("max_concurrency", 4)
    return (Awaited if mode in ("tasks", "awaited") else Blocking)(**settings)


def go(mode: str, node: Any, shared: Any, **options: Any) -> Any:
    """Run a node as the mode says."""
    if mode.startswith("awaited"):
        return asyncio.run(node.run_async(shared, **options))
    return node.run(shared, **options)


def statuses(node: Any, which: Any = None) -> list[str]:
    """The status of every row of a batch, in order."""
    return [row.status for row in node.last_run.batch(which or node)]


class Signal:
    """An event that both a thread and a task can wait for."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.set = self._event.set
        self.is_set = self._event.is_set

    def wait(self) -> None:
        assert self._event.wait(PATIENCE), "what was waited for did not happen"

    async def seen(self) -> None:
        await asyncio.to_thread(self.wait)

    def wait_in(self, mode: str) -> Any:
        """Wait here, or return what a task has to await."""
        return self.seen() if mode in ("tasks", "awaited") else self.wait()


class When:
    """A subscriber that sets a signal when it has been told so many events of a kind and status."""

    def __init__(self, kind: str, status: str = "", *, times: int = 1) -> None:
        self.kind, self.status, self.left = kind, status, times
        self.signal = Signal()

    def handle(self, event: Any) -> None:
        if event.kind == self.kind and (not self.status or event.status == self.status):
            self.left -= 1
            if self.left == 0:
                self.signal.set()


class Square(Items):
    """Importable by name, as a process pool needs it. The first attempt at a negative number fails."""

    def exec(self, item):
        if item < 0 and self.cur_retry == 0:
            raise ValueError(item)
        return item * item * self.params.get("factor", 1)


class Sets(BatchFlow):
    """Walks once for each of ``shared["sets"]``, leaving the walks' results in ``shared["results"]``."""

    def prep(self, shared):
        return shared["sets"]

    def post(self, shared, prep_res, exec_res):
        shared["results"] = exec_res


def numbered(count):
    return [{"n": n} for n in range(count)]


def is_free(limiter):
    """Whether all slots of a limiter can be had, those included that a thread which was left alone gives back soon."""
    tickets = []
    for _ in range(limiter.max_concurrency):
        woken = threading.Event()
        tickets.append(limiter.request(Ticket(woken.set)))
        while limiter.seconds_left(tickets[-1]) is None:
            if not woken.wait(PATIENCE):
                return False
            woken.clear()
    for ticket in tickets:
        limiter.give_back(ticket)
    return True


class InterruptAt:
    """A subscriber that raises ``KeyboardInterrupt``, once: at the n-th event of a kind (None: of any)."""

    def __init__(self, n, kind=None):
        self.n, self.kind = n, kind
        self.told = 0

    def handle(self, event):
        self.told += self.kind in (None, event.kind)
        if self.told == self.n:
            self.n = 0
            raise KeyboardInterrupt
