"""One use of ``exec``: what is called with what, and what follows a failure.

A call is made of *attempts*, and its state lives here and not on the node, so that calls side by side cannot count each
other's attempts. Where an attempt runs, and who waits for it, is the affair of the scheduler and its driver.
"""

from typing import TYPE_CHECKING, Any

from ..core.errors import warn
from ..core.node import ATTEMPT
from ..core.seconds import LONGEST, seconds_asked, seconds_of
from ..core.text import params_text, quoted
from .batch import Batch
from .plan import Plan

if TYPE_CHECKING:
    from .scheduler import Strand

__all__ = ["Call", "add_context", "invoke"]

MOST_ASKED = 120.0
"""Seconds of ``retry_after`` that are waited for."""


class Call:
    """One use of ``exec``, with its attempts.

    Attributes:
        strand: Whose call it is.
        plan: The node; batch and place: where its result goes.
        target: The copy of the node whose hooks are called.
        item: What ``exec`` is given.
        attempts: Attempts of ``exec`` begun so far.
        error: What the last of them raised, once it has.
        in_fallback: Whether the fallback is being asked.
        started: Clock when the first attempt began; None before.
        ticket: Its place in the node's limiter, while it has one.
    """

    __slots__ = (
        "attempts",
        "batch",
        "error",
        "in_fallback",
        "item",
        "place",
        "plan",
        "started",
        "strand",
        "target",
        "ticket",
    )

    def __init__(self, strand: "Strand", target: Any, place: int, item: Any) -> None:
        self.strand = strand
        self.batch: Batch = strand.batch
        self.plan: Plan = strand.batch.plan
        self.target = target
        self.place = place
        self.item = item
        self.attempts = 0
        self.error: Exception | None = None
        self.in_fallback = False
        self.started: float | None = None
        self.ticket: Any = None

    @property
    def max_retries(self) -> int:
        """Attempts in all. The exec of a batch flow has no such setting; an override makes its own."""
        return 1 if self.plan.is_flow or self.plan.layer is not None else self.target.max_retries

    def hook(self, shared: Any) -> tuple[str, tuple[Any, ...], bool]:
        """Return the method to call now, its arguments, and whether it is ``async def``."""
        hooks = self.plan.hooks
        if self.plan.layer is not None:
            return hooks.exec, (self.plan.driven_by(self.target, shared), self.item), hooks.exec_is_async
        if self.in_fallback:
            args = (shared, self.item, self.error) if hooks.fallback_takes_shared else (self.item, self.error)
            return hooks.fallback, args, hooks.fallback_is_async
        return hooks.exec, (shared, self.item) if hooks.exec_takes_shared else (self.item,), hooks.exec_is_async

    def attempt_failed(self, error: Exception) -> float | None:
        """Return the seconds to wait before the attempt after a failed one, or None when there is none left.

        An error may say in ``retry_after`` how long its endpoint asks to be left alone. An attempt before that would
        fail too. If that is longer than `MOST_ASKED`, the call fails now.
        """
        if self.attempts >= self.max_retries:
            return None
        wait = self.target.wait
        try:
            given = wait(self.attempts) if callable(wait) else wait
        except Exception as exc:
            raise exc from error
        seconds = seconds_of(given)
        if seconds is None:
            seconds = seconds_asked(given)
        if seconds is None:
            what = f"{self.plan.path}: its wait function returned {quoted(given)}"
            warn(f"{what}, which is no number of seconds; the next attempt follows at once.")
            seconds = 0
        asked = _asked_for(error)
        if asked > max(seconds, 0):
            return asked if asked <= MOST_ASKED else None
        return min(max(seconds, 0), LONGEST)

    @property
    def has_fallback(self) -> bool:
        """Whether the class has a fallback of its own; the default one only raises the error again."""
        return "fallback" in self.plan.hooks.own

    def where(self) -> str:
        """Return what to say of this call on an error: which item, and which attempt."""
        parts = params_text(self.batch.params)
        if not self.batch.is_single:
            of = "" if self.batch.items.total is None else f" of {self.batch.items.total}"
            parts += f", item {self.place + 1}{of} (row {quoted(self.batch.items.label(self.place))})"
        return f"{parts}, attempt {self.attempts} of {self.max_retries}" if self.max_retries > 1 else parts


def _asked_for(error: Exception) -> float:
    """The seconds in an error's ``retry_after``; 0 if there are none. The name may stand for something else."""
    try:
        return seconds_asked(getattr(error, "retry_after", None)) or 0.0
    except Exception:  # of a property of theirs, which must not take the place of the error itself
        return 0.0


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
    """Make one attempt, in whatever thread or process this is called."""
    __tracebackhide__ = True
    ATTEMPT.set(attempt)
    return getattr(target, name)(*args)
