"""Runs what `advance` cannot: calls that are awaited, retried, limited, or made side by side.

It decides and never waits. A driver asks it for a `step`, waits until something in progress has ended and is in
``arrived``, and asks again. So the blocking and the asyncio driver are a few lines each, and the rules are here once:

* All positions are moved in the driver's thread, one at a time; only attempts run elsewhere (see `attempts`).
* The async hooks of one walk run in one task and one context: its lane, see `lane`. If the driver is a coroutine, it
  awaits those of the outermost walk itself, so they are in the caller's own task.
* While the coroutine of a ``prep`` or ``post`` is awaited, no other position moves (see `async_hooks`).
* The first failure of a batch (or of a flow's param sets) *drains* it: nothing more is started, calls in flight get
  ``grace`` seconds and their results are kept, then the error is raised in the position (see `stopping`).
"""

from collections import deque
from time import perf_counter as clock
from typing import Any

from ..core.errors import BudgetError
from ..core.kept_errors import drop_callers
from .advance import advance
from .async_hooks import AsyncHooks, next_item
from .attempts import Attempts
from .branch import Branch, Workload
from .executor import UserExecutor
from .flight import LANE, TASK, Flight, Loop
from .flights import Flights, run_within
from .open_calls import OpenCalls
from .outcomes import UnansweredError
from .param_sets import ParamSets
from .position import AFTER_ITEM, AWAIT, BOUNDARY, CALLS, END, SETS, Position
from .retry_queue import RetryQueue
from .setup import Setup
from .stopping import Stopping
from .timers import Timers

__all__ = ["Scheduler"]

SLOW_READ = 0.001
"""Seconds after which a source of items counts as slow: then coroutines are started between two items."""

MAX_WAIT = 3600.0
"""The longest time, in seconds, that a driver waits."""


class Scheduler:
    """Runs a position, and the positions of its param sets, to the end."""

    def __init__(self, position: Position, setup: Setup, loop: Loop, mask: int = 0) -> None:
        self.reached = ""  # `END` or `BOUNDARY`, once the outermost position is there
        self._setup = setup
        self._loop = loop
        self._mask = mask
        self._root = Branch(position)
        self._to_fill: dict[Branch, None] = {}  # to start more of their items
        self._to_read: deque[Branch] = deque()  # to await the next item of their source
        self._sets = ParamSets(self._root, setup, self._one_done)
        self._timers = Timers()
        executor = None if setup.executor is None else UserExecutor(setup.executor, setup.recorder)
        self._flights = flights = Flights(loop, setup.recorder, executor)
        self._hooks = AsyncHooks(setup, loop, flights)
        self._calls = OpenCalls(setup, self._one_done)
        self._attempts = Attempts(setup, loop, self._calls, flights, self._timers)
        self.stopping = Stopping(
            loop, self._timers, flights, self._hooks, self._calls, self._attempts, self._sets, self._to_fill
        )

    # ---- what a driver calls -----------------------------------------------------------------------------------------

    def start(self, need: str) -> None:
        """Take over the position, with what `advance` needs its driver for."""
        self._came_to(self._root, need)

    def start_retry(self, visits: list[Workload]) -> None:
        """Call the queued rows of some visits of one node again. The position has no frames."""
        root = self._root
        root.to_retry, root.keeps_failures = deque(visits), True
        root.need = SETS if visits[0].plan.facts.kind == "batch_flow" else CALLS
        self._fill(root)

    def step(self) -> Any:
        """Do all that can be done now. Return a coroutine to await (then `resume`), or None: wait for ``arrived``.

        Raises:
            Exception: What the run failed with. Nothing is in progress any more.
        """
        __tracebackhide__ = True
        hooks, arrived = self._hooks, self._loop.arrived
        while not self.reached:
            if self._setup.stop is not None:
                self._setup.stop.check()
            if arrived:
                self._process_arrived()
            self._timers.run_due()
            if self._flights.awaited is not None:
                return self._flights.awaited[1]
            if hooks.blocking is not None:
                if not arrived:
                    hooks.warn_if_slow(len(self._sets.branches))
                    return None
            elif self._attempts.send_next():
                pass
            elif self._to_fill:
                if not self._fill(next(iter(self._to_fill))) and not arrived:
                    return None
            elif self._sets.ready:
                self._advance(self._sets.ready.popleft())
            elif self._to_read:
                branch = self._to_read.popleft()
                hooks.start(branch, next_item(branch.work.batch.items.source), "read")
            elif not arrived:
                return None
        return None

    def resume(self, value: Any, error: BaseException | None) -> None:
        """Hand over the outcome of the coroutine that `step` returned."""
        assert self._flights.awaited is not None
        self._process_arrived()  # a failure among them halts what is handed over
        flight, _ = self._flights.awaited
        self._flights.awaited = None
        self._on_arrival(flight, value, error)

    def seconds_to_next_timer(self) -> float | None:
        """Return the seconds until something may be due by the clock, an hour at most; None: nothing is."""
        if self._hooks.blocking is None and self._to_fill:
            return 0.0  # it only looks at what has arrived
        next_due = self._timers.next_due()
        due = [] if next_due is None else [max(0.0, next_due - clock())]
        warning = self._hooks.seconds_to_warning(len(self._sets.branches))
        if warning is not None:
            due.append(warning)
        return min(*due, MAX_WAIT) if due else None

    @property
    def waits_for_loop(self) -> bool:
        """Whether all that is in flight are coroutines on an event loop."""
        in_progress = self._flights.in_progress
        return bool(in_progress) and all(flight.where in (LANE, TASK) for flight in in_progress)

    def close(self) -> None:
        """Let the threads end."""
        self._flights.close()

    # ---- what has ended ----------------------------------------------------------------------------------------------

    def _process_arrived(self) -> None:
        arrived = self._loop.arrived
        while arrived:
            self._on_arrival(*arrived[0])
            arrived.popleft()  # only now: should an interrupt come, `stop` finds it there

    def _on_arrival(self, flight: Flight | None, value: Any, error: BaseException | None) -> None:
        """Process a flight that has ended, or a call whose limiter may have a slot for it."""
        if flight is None:
            self._attempts.ask_again(value)
        elif not flight.is_awaited:
            self._flights.forget(flight, value)
        elif flight.call is not None:
            self._attempts.on_arrival(flight, flight.call, value, error)
        else:
            self._flights.end(flight)
            self._hooks.end(flight)
            if flight.kind == "walk":
                self._walk_done(flight.branch, value, error)
            elif flight.kind == "hook":
                self._hook_done(flight.branch, value, error)
            else:
                self._read_done(flight.branch, value, error)

    def _walk_done(self, branch: Branch, need: Any, error: BaseException | None) -> None:
        if error is None:
            self._came_to(branch, need)
        elif isinstance(error, Exception):
            self._sets.end(branch, "failed", None, error)
        else:
            raise error

    def _hook_done(self, branch: Branch, value: Any, error: BaseException | None) -> None:
        if error is None:
            branch.position.resume(value)
        else:
            branch.position.throw(error)
        self._sets.ready.appendleft(branch)

    def _read_done(self, branch: Branch, item: Any, error: BaseException | None) -> None:
        branch.is_reading = False
        batch = branch.work.batch
        if error is None and branch.is_halted():
            index = batch.take_unstarted(item)
            branch.position.frames[-1].spent += batch.usage.take(index)  # no call of the visit will report it
        elif error is None:
            self._start_item(branch, item)
        elif isinstance(error, StopAsyncIteration):
            batch.items.exhausted = True
        else:
            self._source_failed(branch, error)
        self._fill(branch)

    def _one_done(self, branch: Branch, error: BaseException | None, failed_at: str | None = None) -> None:
        """Count one of the branch's calls or param sets as done."""
        branch.running -= 1
        if error is not None:
            stops = not isinstance(error, UnansweredError) or branch.work.batch.is_single
            keeps = branch.keeps_failures and not (isinstance(error, BudgetError) and branch.to_retry is None)
            if branch.error is None and not keeps and stops:
                branch.error = error
                branch.position.failed_at = failed_at
                self.stopping.drain(branch, self._setup.grace)
            elif error is not branch.error:
                drop_callers(error)  # it goes no further than its row
        self._to_fill.pop(branch, None)
        self._to_fill[branch] = None  # filled in its turn: `_fill` may be on its way here

    # ---- branches ----------------------------------------------------------------------------------------------------

    def _advance(self, branch: Branch) -> None:
        __tracebackhide__ = True
        if branch.parent is not None and branch.parent.is_halted():
            self._sets.end(branch, "cancelled", None, None)
            return
        try:
            mask = 0 if branch.parent else self._mask
            need = run_within(branch.position, advance, branch.position, self._setup, mask)
        except Exception as exc:
            if branch.parent is None:
                self._sets.branches.pop(branch, None)
                branch.position.close_lane()
                raise
            self._sets.end(branch, "failed", None, exc)
        else:
            self._came_to(branch, need)

    def _came_to(self, branch: Branch, need: str) -> None:
        position = branch.position
        if need == END and branch.parent is not None:
            self._sets.end(branch, "ok", position.result, None)
        elif need in (END, BOUNDARY):
            self._reach(need)
        elif need == AWAIT:
            awaitable, position.awaiting = position.awaiting, None  # it is the flight's now
            self._hooks.start(branch, awaitable, "hook")
        else:
            work = Workload.of(position.frames[-1])
            branch.need, branch.work = need, work
            branch.running, branch.error, branch.draining = 0, None, False
            # The failure of the only call of a visit always goes up.
            branch.keeps_failures = work.plan.settings.on_error == "keep" and not work.batch.is_single
            self._fill(branch)

    def _reach(self, need: str) -> None:
        """Note that the outermost branch has come to its end, or to a boundary."""
        self._sets.branches.pop(self._root)
        self.reached = need
        if need == END:
            self._root.position.close_lane()

    # ---- the items of a branch ---------------------------------------------------------------------------------------

    def _fill(self, branch: Branch) -> bool:
        """Start as many items as may be in progress at once. When all are done, the branch is ready to be advanced.

        False: there is more to start, but first process the arrivals, since nothing is started after a failure.
        """
        if branch.to_retry is not None:
            self._fill_retry(branch, branch.to_retry)
            return True
        work = branch.work
        batch, plan, _, limit = work
        one_by_one = bool(self._mask & AFTER_ITEM) and branch is self._root and plan.facts.kind == "batch_node"
        inline = plan.facts.inline and branch.position.inline and not one_by_one
        on_the_spot = branch.need == CALLS and inline and not batch.items.is_async
        if one_by_one:
            limit = 1
        while not branch.is_halted() and (limit is None or branch.running < limit):
            if one_by_one and batch.items.read > batch.items.reported and not batch.is_single:
                break
            if batch.started is not None:
                index, (item, awaitable, error, started) = batch.take_started()
                branch.running += 1
                self._attempts.take_over(self._calls.open(branch, work, index, item), awaitable, error, started)
            elif batch.retry_queue:
                self._start_again(branch, work, batch.retry_queue)
            elif batch.items.exhausted or (on_the_spot and batch.items.read):
                break
            elif batch.items.is_async:
                if not branch.is_reading:
                    branch.is_reading = True
                    self._to_read.append(branch)
                break
            elif not self._read(branch):
                return False
        self._to_fill.pop(branch, None)
        if branch in self._to_read and branch.is_halted():
            self._to_read.remove(branch)
            branch.is_reading = False
        if branch.running == 0 and not branch.is_reading:
            if branch.error is not None:
                branch.position.throw(branch.error)
            self._sets.ready.append(branch)
        return True

    def _read(self, branch: Branch) -> bool:
        """Start the next item of a source that is not awaited. False: first look at what has arrived."""
        items = branch.work.batch.items
        asked = clock()
        try:
            context = branch.position.context  # `run_within`, without its call
            element = next(items.source) if context is None else context.run(next, items.source)
        except StopIteration:
            items.exhausted = True
            return True
        except Exception as exc:
            self._source_failed(branch, exc)
            return True
        except BaseException:  # an interrupt, which may have lost an item
            items.read_failed = True
            raise
        is_slow = clock() - asked > SLOW_READ
        self._start_item(branch, element)
        if is_slow or self._loop.arrived:
            self._to_fill[branch] = None
            self._loop.flush()
            return False
        return True

    def _fill_retry(self, branch: Branch, visits: deque[Workload]) -> None:
        """Start as many queued rows as may be in progress at once. When all are done, the retry has ended."""
        self._to_fill.pop(branch, None)
        while visits:
            queue, limit = visits[0].batch.retry_queue, visits[0].limit
            if not queue:
                visits.popleft()
            elif limit is None or branch.running < limit:
                self._start_again(branch, visits[0], queue)
            else:
                return
        if branch.running == 0:
            self._reach(END)

    def _source_failed(self, branch: Branch, error: BaseException) -> None:
        items = branch.work.batch.items
        items.exhausted = items.read_failed = True
        branch.error = error
        self.stopping.drain(branch, self._setup.grace)

    def _start_item(self, branch: Branch, element: Any) -> None:
        work = branch.work
        index = work.batch.take(element)
        branch.running += 1
        if branch.need == SETS:
            self._sets.start(branch, work, index, element)
        else:
            self._attempts.start(self._calls.open(branch, work, index, element))

    def _start_again(self, branch: Branch, work: Workload, queue: RetryQueue) -> None:
        """Call the next queued item, or walk the next queued param set, again."""
        index, before = queue.take()
        branch.running += 1
        if branch.need == SETS:
            self._sets.start_again(branch, work, index)
        else:
            call = self._calls.open(branch, work, index, work.batch.items.at(index))
            call.error = before.error  # type: ignore[assignment]
            call.reported = len(work.batch.usage.of(index))
            self._attempts.start(call)
