"""Runs what `advance` cannot: calls that are awaited, tried again, limited, or made side by side.

It decides and never waits. A driver asks it for a `turn`, waits for what is under way, puts what comes back into
``arrived``, and asks again. So the blocking and the asyncio driver are a few lines each, and the rules are here once:

* All positions are moved in the driver's thread, one at a time; only attempts run elsewhere.
* The async hooks of one walk run in one task and one context: its lane, see `lane`. Where the driver is a coroutine
  itself, it awaits those of the outermost walk, so they are in the caller's own task.
* While the coroutine of a ``prep`` or ``post`` is awaited, no other position moves: user code needs no lock. Parallel
  flows under PocketFlow's names are the exception (``Dialect.hooks_overlap``).
* The first failure of a batch (or of a flow's param sets) *drains* it: nothing is started any more, calls in flight get
  ``grace`` seconds and their results are kept, then the error goes up.
"""

import heapq
import itertools
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextvars import Context, copy_context
from functools import partial
from pickle import PicklingError
from time import perf_counter as clock
from typing import Any

from ..core.errors import CallTimeoutError, ExecutorError, NestedLimiterError, SendError, warn
from ..core.kept_errors import drop_callers, drop_tracebacks
from ..core.node import ATTEMPT
from .advance import AFTER_ITEM, AWAIT, BOUNDARY, CALLS, END, SETS, advance
from .awaitables import PLAIN, discard, is_awaitable
from .batch import PENDING, Batch
from .calls import Call, add_context, invoke
from .events import Event, EventKind
from .flight import Flight, Loop
from .lane import Job, Lane
from .limiter import HELD, Limiter, Ticket, hold, release
from .plan import Setup
from .position import EXPANDED, Position
from .remote import dumps, explain_unsent, has_exact_cancel, send, workers_of
from .resume import resume_param_set
from .threads import DaemonThreads
from .unwind import cancel, keep_checkpoint, note_where
from .walks import branch

__all__ = ["Scheduler", "Strand"]

SLOW_HOOK = 3.0
"""Seconds that a hook may hold up other walks before the run says so."""

SLOW_PULL = 0.001
"""Seconds after which a source of items counts as slow: then jobs get a turn between two items."""


class Strand:
    """A position that is being run, and what it waits for.

    Attributes:
        parent: The strand whose param set this is; place: which one.
        batch: The calls or param sets that it waits for.
        need: `CALLS` or `SETS`.
        running: How many of them are under way.
        error: The first failure among them.
        draining: Whether nothing of it is started any more.
        pulling: Whether the next item is being awaited, or waits to be.
    """

    __slots__ = ("batch", "draining", "error", "need", "parent", "place", "position", "pulling", "running", "started")

    def __init__(self, position: Position, parent: "Strand | None" = None, place: int = 0) -> None:
        self.position = position
        self.parent = parent
        self.place = place
        self.batch: Batch = None  # type: ignore[assignment]
        self.need = ""
        self.running = 0
        self.error: BaseException | None = None
        self.draining = False
        self.pulling = False
        self.started = clock()


class Scheduler:
    """Runs a position and its branches to the end, a turn at a time."""

    def __init__(self, position: Position, setup: Setup, loop: Loop, mask: int = 0) -> None:
        self.setup = setup
        self.loop = loop
        self.mask = mask
        self.came_to = ""
        self.arrived = loop.arrived
        self.leaving: dict[Flight, None] = {}
        self._ready: deque[Strand] = deque()
        self._abandoned: list[Flight] = []
        self._strands: dict[Strand, None] = {}
        self._flying: dict[Flight, None] = {}
        self._waiting: dict[Call, None] = {}
        self._open: dict[Call, None] = {}
        self._tickets: dict[Ticket, Limiter] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._ticks = itertools.count()
        self._asked: tuple[Flight, Any] | None = None
        self._hook: Flight | None = None
        self._hook_since = 0.0
        self._pulls: deque[Strand] = deque()
        self._hungry: dict[Strand, None] = {}
        self._threads: DaemonThreads | None = None
        self._workers = workers_of(setup.executor)
        self._sent: set[Flight] = set()
        self._unsent: dict[Call, None] = {}
        self._executor_error: ExecutorError | None = None
        self._warned_of_writes: set[str] = set()
        self._root = Strand(position)
        self._strands[self._root] = None

    # ---- what a driver calls -----------------------------------------------------------------------------------------

    def begin(self, need: str) -> None:
        """Take over the position, which `advance` has brought to a need of its driver."""
        self._came_to(self._root, need)

    def turn(self) -> Any:
        """Do all that can be done now. Return a coroutine to be awaited (then `answer`), or None: wait for ``arrived``.

        Raises:
            Exception: What the run failed with. Nothing is under way any more.
        """
        __tracebackhide__ = True
        while not self.came_to:
            if self.setup.stop is not None:
                self.setup.stop.check()
            self._take_up_arrived()
            now = clock()
            while self._timers and self._timers[0][0] <= now:
                heapq.heappop(self._timers)[2]()
            if self._asked is not None:
                return self._asked[1]
            if self._hook is not None:
                if not self.arrived:
                    self._tell_slow_hook()
                    return None
            elif self._unsent and len(self._sent) < self._workers:
                self._send_next()
            elif self._hungry:
                if not self._feed(next(iter(self._hungry))) and not self.arrived:
                    return None
            elif self._ready:
                self._advance(self._ready.popleft())
            elif self._pulls:
                strand = self._pulls.popleft()
                self._await_hook(strand, _next_of(strand.batch.items.source), "pull")
            elif not self.arrived:
                return None
        return None

    def answer(self, value: Any, error: BaseException | None) -> None:
        """Hand over what the coroutine that `turn` returned came to."""
        assert self._asked is not None
        self._take_up_arrived()  # a failure among them halts what is handed over
        flight, _ = self._asked
        self._asked = None
        self._take_up(flight, value, error)

    def _await_hook(self, strand: Strand, awaitable: Any, kind: str, *, alone: bool = True) -> None:
        """Have a hook awaited. ``alone``: no other position moves meanwhile."""
        flight = Flight(strand, self.loop, kind=kind)
        if strand is self._root and self.loop.awaits_itself:
            self._asked = flight, awaitable
            return
        if alone:
            self._hook, self._hook_since = flight, clock()
        try:
            follow = None if alone else partial(self._follow, flight)
            self._spawn(flight, awaitable, self._lane(strand.position), follow)
        except Exception as exc:  # the loop cannot be waited for from here
            self._flying.pop(flight, None)
            discard(awaitable)
            self._hook_done(flight, None, exc)

    def _overlaps(self, strand: Strand) -> bool:
        """Whether the hook of a branch is awaited beside those of others: in one thread only, as in PocketFlow."""
        is_branch = strand.parent is not None and self.loop.awaits_itself
        return is_branch and strand.position.frames[-1].plan.hooks_overlap

    def _follow(self, flight: Flight, value: Any, error: BaseException | None) -> Any:
        """Move a walk on at once, in its own task, when a hook that others overlap has ended.

        So nothing comes between ``post`` of a node and ``prep`` of the next one. Returns the next hook to await there;
        None: the walk needs something else, which the driver is told.
        """
        strand, position = flight.strand, flight.strand.position
        if flight.live and not self._halted(strand):
            if error is None:
                position.resume(value)
            else:
                position.throw(error)
            flight.kind, value, error = "walk", None, None
            try:
                value = advance(position, self.setup)
            except BaseException as exc:
                error = exc
            if value == AWAIT and self._overlaps(strand):
                flight.kind = "hook"
                awaitable, position.awaiting = position.awaiting, None
                return awaitable
        flight.landed(value, error)
        return None

    def _hook_done(self, flight: Flight, value: Any, error: BaseException | None) -> None:
        strand = flight.strand
        if self._hook is flight:
            self._hook = None
        if flight.kind == "walk":
            if error is None:
                self._came_to(strand, value)
            elif isinstance(error, Exception):
                self._strand_ended(strand, "failed", None, error)
            else:
                raise error
            return
        if flight.kind == "hook":
            if error is None:
                strand.position.resume(value)
            else:
                strand.position.throw(error)
            self._ready.appendleft(strand)
        else:
            strand.pulling = False
            if error is None and self._halted(strand):
                strand.batch.take_unstarted(value)
            elif error is None:
                self._begin(strand, value)
            elif isinstance(error, StopAsyncIteration):
                strand.batch.items.exhausted = True
            else:
                self._source_failed(strand, error)
            self._feed(strand)

    def _tell_slow_hook(self) -> None:
        """Say that a hook holds up other walks, which it may be waiting for."""
        assert self._hook is not None
        if len(self._strands) == 1 or clock() - self._hook_since < SLOW_HOOK:
            return
        self._hook_since = float("inf")
        path = self._hook.strand.position.path
        text = (
            f"{path}: a prep or post has been awaited for {SLOW_HOOK:g} s, and no other param set runs meanwhile. If "
            "it waits for one of them, the wait never ends; await that in exec, which runs side by side."
        )
        self.setup.recorder.add_problem(text)
        warn(text)

    def _take_up_arrived(self) -> None:
        while self.arrived:
            self._take_up(*self.arrived[0])
            self.arrived.popleft()  # only now: should an interrupt come, `stop` finds it there

    def patience(self) -> float | None:
        """Seconds until something may be due by the clock, an hour at most; None: nothing is."""
        if self._hook is None and self._hungry:
            return 0.0  # it only has a look at what has arrived
        due = [self._timers[0][0]] if self._timers else []
        if self._hook is not None and len(self._strands) > 1 and self._hook_since < float("inf"):
            due.append(self._hook_since + SLOW_HOOK)
        return min(max(0.0, min(due) - clock()), 3600.0) if due else None

    def stop(self) -> None:
        """Start nothing any more, keep what has arrived, let go of the rest."""
        if self._asked is not None:
            discard(self._asked[1])
        self._asked = self._hook = None
        while self.arrived:
            self._keep(*self.arrived.popleft())
        for flight in list(self._flying):
            outcome = flight.outcome()
            if outcome is not None:
                self._keep(flight, *outcome)
        for flight in list(self._flying):
            self._let_go(flight)
            if flight.call is not None:
                self._tell_attempt(flight.call, "cancelled")
        for call in list(self._waiting):
            self._stop_waiting(call)
        for call in list(self._open):  # also one that an interrupt caught between two states
            self._close_call(call)
        in_use = {flight.ticket for flight in (*self._abandoned, *self.leaving)}
        for ticket, limiter in self._tickets.items():
            if ticket not in in_use:  # a thread that goes on, or a task that cleans up, uses the model all the same
                limiter.give_back(ticket)
        for strand in reversed(self._strands):
            strand.position.close_lane()
            value = _result_so_far(strand.position)
            cancel(strand.position, self.setup)
            if strand.parent is not None:
                keep_checkpoint(strand.parent.batch, strand.place, strand.position)
                self._settle_set(strand.parent.batch, strand.place, "cancelled", value, clock() - strand.started)
        self._strands.clear()

    def clear(self) -> None:
        """Take note, after the end, of what has arrived since."""
        for flight in list(self.leaving):
            outcome = flight.outcome()
            if outcome is not None:
                self._arrived_late(flight, *outcome)
        while self.arrived:
            self._arrived_late(*self.arrived.popleft())

    def _arrived_late(self, flight: Flight | None, value: Any, error: BaseException | None) -> None:
        if flight is not None and flight.call is not None and error is None and not _awaits(value):
            self._keep_late(flight.call, value)
        self._left(flight, value)

    def _keep_late(self, call: Call, value: Any) -> None:
        """Enter a result that came in while its task was being cancelled: it is paid for."""
        row = call.batch.outcomes.exceptional.get(call.place)
        if row is not None and row.status == "cancelled":
            self._enter(call, "fallback" if call.in_fallback else "ok", value, call.error)

    def _left(self, flight: Flight | None, value: Any) -> None:
        """Take note that an attempt which was let go of has ended."""
        if flight is not None:
            self.leaving.pop(flight, None)
            flight.handle = None
            flight.drop(value)

    def close(self) -> None:
        """Send the threads home."""
        if self._threads is not None:
            self._threads.close()

    # ---- strands -----------------------------------------------------------------------------------------------------

    def _advance(self, strand: Strand) -> None:
        __tracebackhide__ = True
        if strand.parent is not None and self._halted(strand.parent):
            self._strand_ended(strand, "cancelled", None, None)
            return
        try:
            need = _within(strand.position, advance, strand.position, self.setup, 0 if strand.parent else self.mask)
        except Exception as exc:
            if strand.parent is None:
                self._strands.pop(strand, None)
                strand.position.close_lane()
                raise
            self._strand_ended(strand, "failed", None, exc)
        else:
            self._came_to(strand, need)

    def _came_to(self, strand: Strand, need: str) -> None:
        position = strand.position
        if need == END and strand.parent is not None:
            self._strand_ended(strand, "ok", position.result, None)
        elif need in (END, BOUNDARY):
            self._strands.pop(strand)
            self.came_to = need
            if need == END:
                position.close_lane()
        elif need == AWAIT:
            awaitable, position.awaiting = position.awaiting, None  # it is the driver's now
            self._await_hook(strand, awaitable, "hook", alone=not self._overlaps(strand))
        else:
            work = position.frames[-1].work
            assert work is not None
            strand.need, strand.batch = need, work
            strand.running, strand.error, strand.draining = 0, None, False
            self._feed(strand)

    def _strand_ended(self, strand: Strand, status: str, value: Any, error: BaseException | None) -> None:
        self._strands.pop(strand, None)
        strand.position.close_lane()
        parent = strand.parent
        assert parent is not None
        if status == "cancelled":
            value = _result_so_far(strand.position)
            cancel(strand.position, self.setup)
        batch = parent.batch
        if status != "ok":
            keep_checkpoint(batch, strand.place, strand.position)
        failed_at = strand.position.failed_at if error is not None else None
        assert batch.outcomes.actions is not None
        batch.outcomes.actions[strand.place] = strand.position.action
        self._settle_set(batch, strand.place, status, value, clock() - strand.started, error, failed_at)
        self._one_done(parent, error, failed_at)

    def _settle_set(
        self,
        batch: Batch,
        place: int,
        status: str,
        value: Any,
        seconds: float,
        error: BaseException | None = None,
        failed_at: str | None = None,
    ) -> None:
        batch.settle(place, status, value, 1, seconds, error, failed_at)
        if self.setup.subscribers:
            path, params = batch.plan.path, batch.params
            self.setup.tell(Event("param_set_finished", path, params, place, 0, status, value, error))

    def _halted(self, strand: Strand | None) -> bool:
        """Whether nothing may be started any more for a strand, because it or one around it is draining."""
        while strand is not None:
            if strand.draining:
                return True
            strand = strand.parent
        return False

    def _feed(self, strand: Strand) -> bool:
        """Start as much as may be in progress at once; when all is done, let the position go on.

        False: there is more to start, but first look at what has arrived: after a failure nothing is started.
        """
        batch = strand.batch
        plan = batch.plan
        one_by_one = bool(self.mask & AFTER_ITEM) and strand is self._root and plan.kind == "batch_node"
        inline = plan.inline and strand.position.inline and not one_by_one
        on_the_spot = strand.need == CALLS and inline and not batch.items.is_async
        limit = 1 if batch.is_single or one_by_one else plan.limit
        while not self._halted(strand) and (limit is None or strand.running < limit):
            if one_by_one and batch.items.read > strand.position.frames[-1].items_told and not batch.is_single:
                break
            if batch.started is not None:
                self._go_on_with_begun(strand)
            elif batch.retry_queue:
                self._begin_again(strand, batch.retry_queue.popleft())
            elif batch.items.exhausted or (on_the_spot and batch.items.read):
                break
            elif batch.items.is_async:
                if not strand.pulling:
                    strand.pulling = True
                    self._pulls.append(strand)
                break
            else:
                asked = clock()
                try:
                    element = _within(strand.position, next, batch.items.source)
                except StopIteration:
                    batch.items.exhausted = True
                except Exception as exc:
                    self._source_failed(strand, exc)
                    break
                except BaseException:  # an interrupt: who knows what it took along
                    batch.items.read_failed = True
                    raise
                else:
                    is_slow = clock() - asked > SLOW_PULL
                    self._begin(strand, element)
                    if is_slow or self.arrived:
                        self._hungry[strand] = None
                        self.loop.flush()
                        return False
        self._hungry.pop(strand, None)
        if strand in self._pulls and self._halted(strand):
            self._pulls.remove(strand)
            strand.pulling = False
        if strand.running == 0 and not strand.pulling:
            if strand.error is not None:
                strand.position.throw(strand.error)
            self._ready.append(strand)
        return True

    def _source_failed(self, strand: Strand, error: BaseException) -> None:
        strand.batch.items.exhausted = strand.batch.items.read_failed = True
        strand.error = error
        self._drain(strand)

    def _begin(self, strand: Strand, element: Any) -> None:
        place = strand.batch.take(element)
        strand.running += 1
        if strand.need == SETS:
            self._begin_set(strand, place, element, None)
        else:
            self._start(self._call(strand, place, element))

    def _begin_again(self, strand: Strand, place: int) -> None:
        """Call an item, or walk a param set, once more."""
        batch = strand.batch
        element = batch.items.at(place)
        strand.running += 1
        if strand.need == SETS:
            position = batch.retries.pop(place, None)
            checkpoint = batch.checkpoints.pop(place, None)
            if position is None and checkpoint is not None:
                position = resume_param_set(checkpoint, self.setup, strand.position.shared)
                if position is not None:
                    position.frames[0].part_of = batch, place
            if position is None:  # it starts from the beginning, so its earlier batches are of no more use
                self.setup.recorder.discard_batches(lambda inner: inner.is_within(batch, place))
            self._begin_set(strand, place, element, position)
        else:
            call = self._call(strand, place, element)
            call.error = batch.previous[place][0].error  # type: ignore[assignment]
            self._start(call)

    def _begin_set(self, strand: Strand, place: int, element: Any, position: Position | None) -> None:
        """Begin to walk a param set, or go on with one."""
        batch = strand.batch
        self.setup.recorder.drop_old()
        if self.setup.subscribers:
            self.setup.tell(Event("param_set_started", batch.plan.path, batch.params, place, value=element))
        try:
            position = position or branch(strand.position, place, element)
        except Exception as exc:
            self._settle_set(batch, place, "failed", None, 0.0, exc, batch.plan.path)
            self._one_done(strand, exc, batch.plan.path)
            return
        position.inline = strand.position.inline and batch.plan.limit == 1
        position.context = position.context or _context_of(strand.position)
        child = Strand(position, strand, place)
        self._strands[child] = None
        self._ready.append(child)

    def _call(self, strand: Strand, place: int, item: Any) -> Call:
        frame = strand.position.frames[-1]
        target = frame.flow if frame.phase == EXPANDED else frame.visit
        call = Call(strand, target, place, item)
        self._open[call] = None
        if self.setup.subscribers:
            self._tell("call_started", call, 0, "", item)
        return call

    def _one_done(self, strand: Strand, error: BaseException | None, failed_at: str | None = None) -> None:
        """Count one of the strand's calls or param sets as done."""
        strand.running -= 1
        if error is not None and strand.error is None and not self._keeps(strand.batch):
            strand.error = error
            strand.position.failed_at = failed_at
            self._drain(strand)
        elif error is not None and error is not strand.error:
            drop_callers(error)  # it goes no further than its row
        self._hungry.pop(strand, None)
        self._hungry[strand] = None  # fed in its turn: `_feed` may be on its way here

    @staticmethod
    def _keeps(batch: Batch) -> bool:
        """Whether a failure in this batch is only a row of it. That of a single call always goes up."""
        return batch.plan.on_error == "keep" and not batch.is_single

    def _drain(self, strand: Strand) -> None:
        strand.draining = True
        for call in [c for c in self._waiting if self._is_within(c.strand, strand)]:
            self._stop_waiting(call)
            self._settle(call, "cancelled", None, call.error)
        if has_exact_cancel(self.setup.executor) and self._sent:
            self._give_up(strand, lambda flight: flight in self._sent and flight.handle.cancel())
        if any(self._is_within(flight.strand, strand) for flight in self._flying):
            self._later(self.setup.grace, lambda: self._give_up(strand, lambda flight: True))

    def _give_up(self, strand: Strand, which: Callable[[Flight], bool]) -> None:
        """Let go of attempts of a strand: of all when its grace is over, before that of those queued in an executor."""
        for flight in [f for f in self._flying if self._is_within(f.strand, strand)]:
            if which(flight):
                self._let_go(flight)
                if flight.call is not None:
                    self._tell_attempt(flight.call, "cancelled")
                    self._settle(flight.call, "cancelled", None, flight.call.error)
                elif flight.kind == "hook":
                    self._strand_ended(flight.strand, "cancelled", None, None)
                else:
                    flight.strand.pulling, flight.strand.batch.items.read_failed = False, True
                    self._hungry[flight.strand] = None

    @staticmethod
    def _is_within(strand: Strand | None, outer: Strand) -> bool:
        while strand is not None and strand is not outer:
            strand = strand.parent
        return strand is outer

    # ---- calls -------------------------------------------------------------------------------------------------------

    def _go_on_with_begun(self, strand: Strand) -> None:
        """Take over a call whose first attempt was begun on the spot by `advance`."""
        place, (item, coroutine, error, started) = strand.batch.take_started()
        strand.running += 1
        call = self._call(strand, place, item)
        call.started = started
        call.attempts = 1
        flight = Flight(strand, self.loop, call)
        if coroutine is not None:
            self._await_attempt(flight, call, coroutine)
        else:
            self.arrived.append((flight, None, error))

    def _start(self, call: Call) -> None:
        """Begin the next attempt, as soon as the limiter lets it; or take an answer that is there already."""
        answers = self.setup.answers if call.plan.layer is None else None  # the calls within it are asked for each
        if answers is not None and not call.attempts and call.ticket is None and not call.in_fallback:
            answer = answers.find(call)
            if answer is not None:
                call.attempts = answer.attempts
                call.started = clock()
                self._settle(call, "ok", answer.value, answer.error)
                return
        limiter = call.plan.limiter
        if limiter is not None:
            ticket = call.ticket
            if ticket is None:
                call.ticket = ticket = Ticket(lambda: self.loop.post((None, call, None)), call.plan.path)
                self._tickets[ticket] = limiter
                self._waiting[call] = None
                try:
                    limiter.request(ticket)
                except NestedLimiterError as exc:
                    self._stop_waiting(call)
                    self._settle(call, "failed", None, exc)
                    return
            seconds = limiter.seconds_left(ticket)
            if seconds is None or seconds > 0:
                limited, now = self.setup.recorder.limited, clock()
                since, _ = limited.get(ticket, (now, None))
                limited[ticket] = since, None if seconds is None else now + seconds
                if seconds is not None:
                    self._later(seconds, lambda: self._ask_again(call))
                return
            self._waiting.pop(call, None)
            self.setup.recorder.limited.pop(ticket, None)
        self._launch(call)

    def _answered(self, call: Call, value: Any) -> None:
        if self.setup.answers is not None and call.plan.layer is None and not call.in_fallback:
            self.setup.answers.keep(call, value)

    def _ask_again(self, call: Call) -> None:
        if call in self._waiting and call.ticket is not None:  # else it waits for its next attempt by now
            self._start(call)

    def _stop_waiting(self, call: Call) -> None:
        del self._waiting[call]
        self._unsent.pop(call, None)
        if call.ticket is not None:
            call.plan.limiter.give_back(call.ticket)
            self.setup.recorder.limited.pop(call.ticket, None)
            call.ticket = None

    def _launch(self, call: Call) -> None:
        """Run one attempt: as a task, on the spot, in the user's executor, or in a thread."""
        if self.setup.stop is not None:
            self.setup.stop.check()
        name, args, is_async = call.hook(call.strand.position.shared)
        plan = call.plan
        executor = self.setup.executor if plan.layer is None else None  # the calls within it go there
        if executor is not None and not is_async and len(self._sent) >= self._workers:
            # A pool's queue would start it after a stop, and its timeout would count the time in the queue.
            self._waiting[call] = self._unsent[call] = None
            return
        if call.started is None:
            call.started = clock()
        call.attempts += not call.in_fallback
        if self.setup.answers is not None and call.plan.layer is None and not call.in_fallback:
            self.setup.answers.calling(call)
        self._tell_attempt(call, "started", value=call.item)
        flight = Flight(call.strand, self.loop, call)
        if is_async or (plan.limit == 1 and plan.timeout is None and executor is None and call.strand.position.inline):
            self._run_here(flight, call, name, args)
            return
        if executor is None:
            self._run_in_thread(flight, call, name, args)
        else:
            self._run_in_executor(executor, flight, call, name, args)

    def _send_next(self) -> None:
        """Launch the call that has waited longest for a worker of the user's pool."""
        call = next(iter(self._unsent))
        del self._unsent[call]
        self._waiting.pop(call, None)
        self._launch(call)

    def _run_in_executor(
        self, executor: Executor, flight: Flight, call: Call, name: str, args: tuple[Any, ...]
    ) -> None:
        flight.is_foreign = True
        try:
            if self._executor_error is not None:
                raise ExecutorError(f"not sent to the executor, which failed before: {self._executor_error}")
            shared = call.strand.position.shared
            # No local variable refers to the future: the frames of an error would keep it.
            flight.handle = send(executor, self._context(flight), call.target, name, args, call.attempts - 1, shared)
        except Exception as exc:
            flight.free()
            self._executor_failed(call, exc)
            return
        self._flying[flight] = None
        self._sent.add(flight)
        flight.handle.add_done_callback(flight.future_done)
        self._set_alarm(flight)

    def _executor_failed(self, call: Call, error: Exception) -> None:
        """Fail a call for an error of the executor. Another attempt would meet the same error."""
        if isinstance(error, ExecutorError) and self._executor_error is None:
            self._executor_error = error  # a cluster that is gone answers every further call only after its timeout
        if isinstance(error, TypeError | AttributeError | PicklingError) and not isinstance(error, SendError):
            _, args, _ = call.hook(call.strand.position.shared)
            error = explain_unsent(call.target, args, error, call.strand.position.shared, dumps)
        self._tell_attempt(call, "failed", error=error)
        self._settle(call, "failed", None, error)

    def _report_shared_writes(self, call: Call, flight: Flight) -> None:
        path = call.plan.path
        if path not in self._warned_of_writes:
            self._warned_of_writes.add(path)
            text = (
                f"{path}: exec wrote to shared[{flight.shared_writes[0]}] in another process, where shared is a copy: "
                "the write is lost; return the value, and write it to shared in post."
            )
            self.setup.recorder.add_problem(text)
            warn(text)

    def _context(self, flight: Flight) -> Context:
        """A context for an attempt: a copy of that of its walk, that knows of the attempt's slot of a limiter."""
        context = _context_of(flight.strand.position)
        if flight.ticket is not None:
            context.run(hold, flight.ticket)
        return context

    def _run_in_thread(self, flight: Flight, call: Call, name: str, args: tuple[Any, ...]) -> None:
        """Run an attempt in a thread of ours. The flight knows its future first, so that no interrupt parts them."""
        self._threads = self._threads or DaemonThreads()
        future: Future[Any] = Future()
        flight.handle = future
        future.add_done_callback(flight.future_done)
        self._flying[flight] = None
        try:
            context = self._context(flight)
            self._threads.submit(future, context.run, invoke, call.target, name, args, call.attempts - 1)
        except RuntimeError as exc:  # no further thread to be had
            self._flying.pop(flight)
            flight.live = False
            flight.free()
            self._tell_attempt(call, "failed", error=exc)
            self._settle(call, "failed", None, exc)
        else:
            self._set_alarm(flight)

    def _run_here(self, flight: Flight, call: Call, name: str, args: tuple[Any, ...]) -> None:
        __tracebackhide__ = True
        self._flying[flight] = None  # so that `stop` closes it, should an interrupt come
        if _is_in_turn(call):
            awaitable = _within(call.strand.position, self._attempt_here, flight, call, name, args)
        else:  # an async def, of which nothing runs yet; the walk's context may be in use by its source
            awaitable = self._attempt_here(flight, call, name, args)
        if awaitable is not None:
            self._await_attempt(flight, call, awaitable)

    def _attempt_here(self, flight: Flight, call: Call, name: str, args: tuple[Any, ...]) -> Any:
        """Make an attempt. Return what is to be awaited; any other outcome has arrived."""
        __tracebackhide__ = True
        token = ATTEMPT.set(call.attempts - 1) if call.attempts > 1 else None
        held = None if flight.ticket is None else hold(flight.ticket)
        value: Any = None
        error: BaseException | None = None
        try:
            try:
                value = getattr(call.target, name)(*args)
            except (Exception, CancelledError) as exc:
                error = exc
            if error is None and _awaits(value):
                return value
            self.arrived.append((flight, value, error))  # at once: it is paid for
        finally:
            if token is not None:
                ATTEMPT.reset(token)
            if held is not None:
                HELD.reset(held)

    def _await_attempt(self, flight: Flight, call: Call, awaitable: Any) -> None:
        """Go on with an attempt that turned out to be awaitable.

        In the task of its walk where calls are made one after the other; side by side each has a task of its own, and
        so has one with a timeout that the caller's own task would have to await.
        """
        strand = call.strand
        in_lane = _is_in_turn(call)
        self._flying[flight] = None
        if strand is self._root and self.loop.awaits_itself:
            if in_lane and call.plan.timeout is None:
                _enter_attempt(call, flight)
                self._asked = flight, awaitable
                return
            in_lane = False
        try:
            if in_lane:
                lane = self._lane(strand.position)
                _enter_attempt(call, flight)
                self._spawn(flight, awaitable, lane)
            else:
                context = self._context(flight)
                if call.attempts > 1:
                    context.run(ATTEMPT.set, call.attempts - 1)
                self._spawn(flight, awaitable, context)
        except Exception as exc:
            discard(awaitable)
            self._flying.pop(flight)
            flight.free()
            self._tell_attempt(call, "failed", error=exc)
            self._settle(call, "failed", None, exc)
        else:
            self._set_alarm(flight)

    def _lane(self, position: Position) -> Lane:
        """The lane of a walk, made when its first coroutine is there."""
        if position.lane is None:
            position.context = position.context or copy_context()
            position.lane = self.loop.lane(position.context)
        return position.lane

    def _spawn(
        self, flight: Flight, awaitable: Any, where: Lane | Context, follow: Callable[..., Any] | None = None
    ) -> None:
        if isinstance(where, Lane):
            job = Job(awaitable, flight.landed, None, where, follow)
        else:
            job = Job(awaitable, flight.landed, where)
        flight.handle = job
        self._flying[flight] = None
        self.loop.spawn(job)

    def _set_alarm(self, flight: Flight) -> None:
        if flight.call is not None and flight.call.plan.timeout is not None:
            self._later(flight.call.plan.timeout, lambda: self._time_out(flight))

    def _time_out(self, flight: Flight) -> None:
        is_landing = flight.outcome() is not None  # in time, and on its way here
        if flight in self._flying and flight.call is not None and not is_landing:
            self._let_go(flight)
            plan = flight.call.plan
            self._attempt_failed(flight.call, CallTimeoutError(f"{plan.path}: exec took longer than {plan.timeout} s"))

    def _let_go(self, flight: Flight) -> None:
        """Stop caring for an attempt. A task is cancelled; a thread cannot be, and is counted as abandoned.

        Whether a call in the user's executor runs is only known for pools of the standard library. In other executors
        it counts as abandoned. If it holds one of a bounded number of slots, it is not even cancelled: ``cancel()``
        would report its end at once, while the call may go on, and the slot must not be given to another one.
        """
        call = flight.call
        del self._flying[flight]
        self._sent.discard(flight)
        flight.live = False
        if self._hook is flight:
            self._hook = None
        if isinstance(flight.handle, Job):
            self.leaving[flight] = None
            if flight.handle.lane is not None:
                flight.strand.position.leave_lane()
                if call is not None:
                    _leave_attempt(call, flight)
            self.loop.cancel([flight.handle])
        elif flight.handle is None or flight.handle.done():
            flight.free()  # it landed while it was live, or is not going to
        else:
            is_exact = not flight.is_foreign or has_exact_cancel(self.setup.executor)
            may_cancel = is_exact or call is None or flight.ticket is None or call.plan.limiter.max_concurrency is None
            is_cancelled = may_cancel and flight.handle.cancel()
            if not (is_cancelled and is_exact):
                self._abandoned.append(flight)
                self.setup.recorder.abandoned += 1
        if not isinstance(flight.handle, Job):
            flight.handle = None

    def _take_up(self, flight: Flight | None, value: Any, error: BaseException | None) -> None:
        """Go on from an attempt that ended, or from a limiter that called."""
        if flight is None:
            self._ask_again(value)
            return
        if not flight.live:
            self._left(flight, value)
            return
        call = flight.call
        if call is None:
            self._flying.pop(flight, None)
            self._hook_done(flight, value, error)
            return
        if error is None and _awaits(value):  # of a function that returned it, or a coroutine
            flight.handle = None
            self._sent.discard(flight)
            self._await_attempt(flight, call, value)
            return
        self._flying.pop(flight, None)
        self._sent.discard(flight)
        flight.handle = None  # a future refers back to the flight, which would keep item and result in a cycle
        flight.free()
        if _is_in_turn(call):
            _leave_attempt(call, flight)
        if flight.ticket is not None:
            self._tickets.pop(flight.ticket, None)
        if flight.shared_writes:
            self._report_shared_writes(call, flight)
        if error is None:
            self._tell_attempt(call, "ok", value)
            self._answered(call, value)
            self._settle(call, "fallback" if call.in_fallback else "ok", value, call.error)
        elif flight.executor_failed and isinstance(error, Exception):
            flight.live = False
            self._executor_failed(call, error)
        elif isinstance(error, Exception):
            flight.live = False  # what follows may be the next attempt, in which an interrupt is another story
            self._attempt_failed(call, error)
        elif isinstance(error, CancelledError):  # by user code: ours is not live any more
            self._tell_attempt(call, "failed", error=error)
            self._settle(call, "failed", None, error)
        else:  # SystemExit and the like: as if it had been raised on the spot
            self._tell_attempt(call, "cancelled", error=error)
            self._enter(call, "cancelled", None, error)
            raise error

    def _attempt_failed(self, call: Call, error: Exception) -> None:
        if call.in_fallback:
            add_context(error, call.error)
            self._settle(call, "failed", None, error)
            return
        call.error = error
        self._tell_attempt(call, "failed", error=error)
        try:
            seconds = call.attempt_failed(error)
        except Exception as exc:
            self._settle(call, "failed", None, exc)
            return
        if self._halted(call.strand):
            self._settle(call, "failed", None, error)
        elif seconds is None and call.has_fallback:
            call.in_fallback = True
            self._launch(call)
        elif seconds is None:
            self._settle(call, "failed", None, error)
        else:
            drop_tracebacks(error)  # or every retried row would hold the variables of its failed attempt
            if seconds > 0:
                self._waiting[call] = None
                self._later(seconds, lambda: self._end_wait(call))
            else:
                self._start(call)

    def _end_wait(self, call: Call) -> None:
        if call in self._waiting and call.ticket is None:
            del self._waiting[call]
            self._start(call)

    def _settle(self, call: Call, status: str, value: Any, error: BaseException | None) -> None:
        """Enter what came of a call, and let its strand go on."""
        if status == "failed" and error is not None:
            note_where(self.setup, error, call.plan.path, call.where())
        self._enter(call, status, value, error)
        self._one_done(call.strand, error if status == "failed" else None, call.plan.path)

    def _enter(self, call: Call, status: str, value: Any, error: BaseException | None) -> None:
        if call.error is not None and error is call.error and status != "failed":
            drop_callers(call.error, variables=False)  # the fallback has read it by now
        seconds = clock() - call.started if call.started is not None else 0.0
        call.batch.settle(call.place, status, value, call.attempts, seconds, error, item=call.item)
        self._open.pop(call, None)  # only now: an interrupt in between leaves it for `stop`
        if self.setup.subscribers:
            self._tell("call_finished", call, 0, status, value, error)

    # ---- stopping ----------------------------------------------------------------------------------------------------

    def _keep(self, flight: Flight | None, value: Any, error: BaseException | None) -> None:
        """Enter the outcome of an attempt that ended before the stop; nothing follows from it."""
        call = None if flight is None else flight.call
        if flight is None or call is None or not flight.live or call not in self._open:
            self._left(flight, value)
            return
        flight.free()
        flight.handle = None
        self._flying.pop(flight, None)
        if error is None and _awaits(value):
            discard(value)
            self._tell_attempt(call, "cancelled")
            self._close_call(call)
        elif error is None:
            self._tell_attempt(call, "ok", value)
            self._answered(call, value)
            self._enter(call, "fallback" if call.in_fallback else "ok", value, call.error)
        elif isinstance(error, Exception):
            self._tell_attempt(call, "failed", error=error)
            if call.in_fallback:
                add_context(error, call.error)
            drop_callers(error)
            over = call.in_fallback or (call.attempts >= call.max_retries and not call.has_fallback)
            self._enter(call, "failed" if over else "cancelled", None, error)
        else:
            self._tell_attempt(call, "cancelled", error=error)
            self._close_call(call)

    def _close_call(self, call: Call) -> None:
        self._enter(call, "cancelled", None, call.error)

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (clock() + seconds, next(self._ticks), action))

    # ---- events ------------------------------------------------------------------------------------------------------

    def _tell_attempt(self, call: Call, status: str, value: Any = None, error: BaseException | None = None) -> None:
        """Tell that an attempt of ``exec`` started or finished. The fallback is none."""
        if self.setup.subscribers and not call.in_fallback:
            kind: EventKind = "attempt_started" if status == "started" else "attempt_finished"
            self._tell(kind, call, call.attempts, "" if status == "started" else status, value, error)

    def _tell(
        self, kind: EventKind, call: Call, attempt: int, status: str, value: Any, error: BaseException | None = None
    ) -> None:
        place = None if call.batch.is_single else call.place
        params = call.batch.params
        self.setup.tell(Event(kind, call.plan.path, params, place, attempt, status, value, error))


def _result_so_far(position: Position) -> Any:
    """What the last exec of a walk that is cancelled gave. A single call has no row but that of its param set."""
    frame = position.frames[-1]
    if frame.work is None:
        return None if frame.visit is None else frame.exec_res
    result = frame.work.outcomes.results[0] if frame.work.is_single and frame.work.outcomes.results else PENDING
    return None if result is PENDING else result


def _is_in_turn(call: Call) -> bool:
    """Whether the calls of a visit are made one after the other."""
    return call.batch.is_single or call.plan.limit == 1


def _awaits(value: Any) -> bool:
    return type(value) not in PLAIN and is_awaitable(value)


def _context_of(position: Position) -> Context:
    """A copy of the context that the hooks of a walk run in."""
    return copy_context() if position.context is None else position.context.copy()


def _within(position: Position, function: Callable[..., Any], *args: Any) -> Any:
    """Call something in the context of a walk, where it has one of its own."""
    __tracebackhide__ = True
    return function(*args) if position.context is None else position.context.run(function, *args)


def _enter_attempt(call: Call, flight: Flight) -> None:
    """Have the context of a walk know of the attempt that is made in it."""
    if call.attempts > 1:
        _within(flight.strand.position, ATTEMPT.set, call.attempts - 1)
    if flight.ticket is not None:
        _within(flight.strand.position, hold, flight.ticket)


def _leave_attempt(call: Call, flight: Flight) -> None:
    if call.attempts > 1:
        _within(flight.strand.position, ATTEMPT.set, 0)
    if flight.ticket is not None:
        _within(flight.strand.position, release, flight.ticket)


async def _next_of(source: Any) -> Any:
    """As a coroutine of ours, since ``__anext__`` may raise at once, or return any awaitable."""
    return await anext(source)
