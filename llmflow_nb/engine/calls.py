"""One use of ``exec``: what is called with which arguments, and the state of it.

A call is made of *attempts*. They are counted here and not on the node, which several calls use at once. At any time a
call is in one state, and these are the rules:

* A new call waits for a slot of its node's limiter, if it has one, and then for a worker of the user's pool, if
  all are busy. Every attempt of ``exec`` needs both.
* While it runs, one flight is in progress for it (see `flight`). A flight that takes too long is released: it may still
  occupy a thread or clean up in a task, but the call continues as if the attempt had failed.
* A failed attempt is followed by another one after a wait (see `retry_policy`), or by the fallback of the class. The
  fallback is called once, and needs no slot of the limiter.
* When a call is settled, its outcome is entered in its row. Only the late result of a cancelled task replaces that
  outcome, because it was paid for.

`NEXT_STATE` has every allowed step; any other is a bug, and raises. `attempts` and `open_calls` take the steps.
"""

from typing import Any, NamedTuple, Protocol

from ..core.node import ATTEMPT
from ..core.text import params_text, quoted
from ..core.usage import Usage
from .batch import Batch
from .branch import Branch, Workload
from .budget import Budget
from .plan import Plan

__all__ = ["NEXT_STATE", "SETTLED", "WAITING", "CachedResult", "Call", "ResultCache", "add_context", "invoke"]

# States.
NEW = "new"
FOR_SLOT = "waiting for the limiter"
FOR_WORKER = "waiting for a worker"
RUNNING = "running"
TO_RETRY = "waiting to retry"
IN_FALLBACK = "in fallback"
SETTLED = "settled"

# Events.
LIMIT = "has a limiter"
ENQUEUE = "all workers are busy"
ATTEMPT_STARTS = "attempt starts"
ATTEMPT_FAILS = "attempt failed"
FALLBACK_STARTS = "fallback starts"
SETTLE = "settle"
LATE_RESULT = "late result"

NEXT_STATE = {
    NEW: {LIMIT: FOR_SLOT, ENQUEUE: FOR_WORKER, ATTEMPT_STARTS: RUNNING, SETTLE: SETTLED},
    FOR_SLOT: {ENQUEUE: FOR_WORKER, ATTEMPT_STARTS: RUNNING, SETTLE: SETTLED},
    FOR_WORKER: {ATTEMPT_STARTS: RUNNING, FALLBACK_STARTS: IN_FALLBACK, SETTLE: SETTLED},
    RUNNING: {ATTEMPT_FAILS: TO_RETRY, ENQUEUE: FOR_WORKER, FALLBACK_STARTS: IN_FALLBACK, SETTLE: SETTLED},
    TO_RETRY: {LIMIT: FOR_SLOT, ENQUEUE: FOR_WORKER, ATTEMPT_STARTS: RUNNING, SETTLE: SETTLED},
    IN_FALLBACK: {SETTLE: SETTLED},
    SETTLED: {LATE_RESULT: SETTLED},
}
"""By state, what may happen to a call there, and the state that follows."""

WAITING = frozenset({FOR_SLOT, FOR_WORKER, TO_RETRY})
"""The states in which nothing of a call is in flight, so that it can be settled at once."""


class Call:
    """One use of ``exec``, with its attempts."""

    __slots__ = (
        "attempts",
        "batch",
        "branch",
        "budget",
        "error",
        "in_fallback",
        "index",
        "item",
        "plan",
        "reported",
        "started",
        "state",
        "target",
        "ticket",
    )

    def __init__(self, branch: Branch, work: Workload, index: int, item: Any) -> None:
        self.branch = branch  # whose call it is
        self.batch: Batch = work.batch
        self.plan: Plan = work.plan
        self.target = work.target  # the copy of the node whose hooks are called
        self.index = index  # of the item in the batch
        self.item = item  # what ``exec`` is given
        self.state = NEW
        self.attempts = 0  # of ``exec``, started so far
        self.error: Exception | None = None  # what the last of them raised
        self.in_fallback = False  # whether the fallback has been called
        self.started: float | None = None  # clock at the first attempt; None before
        self.budget: Budget | None = None  # of the run
        self.reported = 0  # how many reports of `spend` in its row are of an earlier call for it
        self.ticket: Any = None  # its slot of the node's limiter, or its place in the queue for one

    def move(self, event: str) -> None:
        """Take the step of an event."""
        self.state = NEXT_STATE[self.state][event]

    @property
    def max_retries(self) -> int:
        """Attempts in all. The exec of a batch flow has no such setting; an override makes its own."""
        return 1 if self.plan.facts.is_flow or self.plan.facts.layer is not None else self.target.max_retries

    @property
    def wait(self) -> Any:
        """The node's setting ``wait``, which matters only if there may be a second attempt."""
        return self.target.wait if self.max_retries > 1 else 0

    def hook(self, shared: Any) -> tuple[str, tuple[Any, ...], bool]:
        """Return the method to call now, its arguments, and whether it is ``async def``."""
        hooks = self.plan.facts.hooks
        if self.plan.facts.layer is not None:
            return hooks.exec, (self.plan.driven_by(self.target, shared), self.item), hooks.exec_is_async
        if self.in_fallback:
            args = (shared, self.item, self.error) if hooks.fallback_takes_shared else (self.item, self.error)
            return hooks.fallback, args, hooks.fallback_is_async
        return hooks.exec, (shared, self.item) if hooks.exec_takes_shared else (self.item,), hooks.exec_is_async

    @property
    def has_fallback(self) -> bool:
        """Whether the class has a fallback of its own; the default one only raises the error again."""
        return "fallback" in self.plan.facts.hooks.own

    @property
    def item_index(self) -> int | None:
        """The index of its item; None for the call of a plain node, which has no items."""
        return None if self.batch.is_single else self.index

    @property
    def is_in_turn(self) -> bool:
        """Whether the calls of its visit are made one after the other."""
        return self.plan.settings.limit == 1 or self.batch.is_single

    def append(self, usage: Usage) -> None:
        """Add what the call has used: a call is the `Meter` of its attempts."""
        self.batch.usage.add(self.index, (usage,))
        if self.budget is not None:
            self.budget.spend(usage, self)

    def where(self) -> str:
        """Return where an error happened, for its note: params, item and row, attempt."""
        parts = params_text(self.batch.params)
        if not self.batch.is_single:
            of = "" if self.batch.items.total is None else f" of {self.batch.items.total}"
            parts += f", item {self.index + 1}{of} (row {quoted(self.batch.items.label(self.index))})"
        return f"{parts}, attempt {self.attempts} of {self.max_retries}" if self.max_retries > 1 else parts


def add_context(error: BaseException, earlier: BaseException | None) -> None:
    """Set the exception that was being handled when a fallback raised, as Python does it in an ``except`` block."""
    if earlier is None:
        return
    behind = _chain(earlier)  # an exception must not become its own context
    if behind.keys() & _chain(error).keys():
        return
    contexts = [error]
    while (last := contexts[-1]).__context__ is not None:
        if any(last.__context__ is exc for exc in contexts):
            return
        contexts.append(last.__context__)
    BaseException.__setattr__(last, "__context__", earlier)  # the class may have closed its own


def _chain(error: BaseException) -> dict[int, BaseException]:
    """Return an exception and those that led to it, by ``id``."""
    found: dict[int, BaseException] = {}
    todo: list[BaseException | None] = [error]
    for exc in todo:  # grows as it is read
        if exc is not None and id(exc) not in found:
            found[id(exc)] = exc
            todo += exc.__cause__, exc.__context__
    return found


def invoke(target: Any, name: str, args: tuple[Any, ...], attempt: int) -> Any:
    """Make one attempt, in the thread or process that this is called in."""
    __tracebackhide__ = True
    ATTEMPT.set(attempt)
    return getattr(target, name)(*args)


class CachedResult(NamedTuple):
    """The result of an earlier call of ``exec``.

    Attributes:
        value: The result.
        attempts: The number of attempts.
        error: The error of the attempt before the last one, if it is known.
        seconds: How long the call took.
        is_replayed: Whether an earlier call has returned it; not if it is the user's.
        status: "ok"; or "failed", with an `UnansweredError`: the call is not made either.
        usage: What the call has used.
    """

    value: Any
    attempts: int = 1
    error: Exception | None = None
    seconds: float = 0.0
    is_replayed: bool = True
    status: str = "ok"
    usage: tuple[Usage, ...] = ()


class ResultCache(Protocol):
    """Answers calls instead of ``exec``, and keeps their results. Used in the driver's thread."""

    def find(self, call: Call) -> CachedResult | None:
        """Return the cached result of a call; None: the call is made."""

    def calling(self, call: Call) -> None:
        """Count an attempt that is about to be made."""

    def keep(self, call: Call, value: Any) -> None:
        """Keep the result of a call that was made."""

    def settled(self, call: Call, status: str, value: Any, error: BaseException | None) -> None:
        """Note how a call ends, after `keep` if ``exec`` has returned. The value may be that of the fallback."""
