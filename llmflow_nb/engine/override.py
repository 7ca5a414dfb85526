"""PocketFlow's private methods around the hooks, on the one interpreter: ``_run``, ``_exec``, ``_orch`` and twins.

A program may override them: to throttle, to trace, to save where it is. The engine then calls the override in place of
the exec of that visit (`Plan.layer`), and the library's method, which the override calls through ``super()``, drives
the rest of the visit: a position of its own, in the same run, with the plan behind that layer (`Plan.behind`). The row
of the visit is the outer one; the inner one is hidden from the record.

Called outside of such a visit, these methods do what they do in PocketFlow, and nothing is recorded. One case between:
an override of ``_orch`` with a loop of its own calls ``_run`` of copies of the steps. They are known by their edges,
which a copy shares with its node, and are recorded as steps of that flow.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from time import perf_counter as clock
from typing import Any

from ..core.layers import EXEC, RUN
from ..core.node import ATTEMPT, label
from ..core.traversal import path_part, reachable
from .drivers.async_ import drive_async
from .drivers.sync import drive
from .hiding import Hiding, Unrecorded
from .plan import DRIVEN, Driven, Plan
from .position import EXEC as BEFORE_EXEC
from .position import PREP, Frame, Position
from .setup import Setup
from .walks import enter

__all__ = ["called_in", "finish", "finish_async"]

_CURRENT: ContextVar[Driven | None] = ContextVar("llmflow_nb_driven", default=None)


@contextmanager
def called_in(driven: Driven) -> Iterator[None]:
    """Let the library's methods know the visit in which the override of a program calls them."""
    token = _CURRENT.set(driven)
    driven.calls += 1
    try:
        yield
    finally:
        driven.calls -= 1
        with suppress(ValueError):  # a coroutine that is discarded ends in another context
            _CURRENT.reset(token)


def finish(node: Any, level: int, shared: Any = None, **given: Any) -> Any:
    """Make the rest of a visit behind a layer, and return what PocketFlow's method of that layer returns.

    Args:
        node: The node or flow, or the copy of it that serves a visit.
        level: The layer whose method of the library is called: `RUN`, `EXEC` or `ITEM`.
        shared: What the hooks read and write; None where the method is not given it.
        given: ``prep_res`` for an exec; ``params`` for the walk of a flow.
    """
    __tracebackhide__ = True
    with _Rest(node, level, shared, **given) as rest:
        drive(rest.position, rest.setup)
    return rest.result()


async def finish_async(node: Any, level: int, shared: Any = None, **given: Any) -> Any:
    """As `finish`, on the running event loop."""
    __tracebackhide__ = True
    with _Rest(node, level, shared, **given) as rest:
        await drive_async(rest.position, rest.setup)
    return rest.result()


class _Rest:
    """The rest of a visit, as a position to be driven to its end."""

    def __init__(self, node: Any, level: int, shared: Any, prep_res: Any = None, params: Any = None) -> None:
        driven, plan, setup = _place_of(node, level)
        if driven is not None:
            shared = driven.shared if shared is None else shared
            setup = _hiding(setup, plan, driven)
        self.setup = setup
        self.is_run = level == RUN
        if level == EXEC and plan.facts.is_flow:
            self.position = Position(shared, [enter(node, plan, params)])
            self.is_run = True
            return
        frame = Frame(node, node.params)
        frame.plan = plan
        frame.visit = node
        frame.phase = PREP
        if level != RUN:
            plan.facts = replace(plan.facts, has_post=False)
            frame.prep_res = prep_res
            frame.phase = BEFORE_EXEC
        frame.t_start = frame.t_prepared = clock()
        self.position = Position(shared, [frame])

    def __enter__(self) -> "_Rest":
        self.token = ATTEMPT.set(0)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        with suppress(ValueError):  # a coroutine that is discarded ends in another context
            ATTEMPT.reset(self.token)

    def result(self) -> Any:
        return self.position.action if self.is_run else self.position.result


def _place_of(node: Any, level: int) -> tuple[Driven | None, Plan, Setup]:
    """Return the visit that a node or a copy serves, if the engine makes one of it, with the plan behind a layer."""
    current = _CURRENT.get()
    # A method that was wrapped on the object is bound to the node itself, while a copy of it serves the visit.
    is_here = current is not None and (current.visit is node or current.plan.node is node)
    driven: Driven | None = current if is_here else node.__dict__.get(DRIVEN)  # a thread of the user does not know it
    if driven is not None and driven.calls:  # else the visit is over, and this a call from outside
        setup = driven.setup
        plan = driven.plan.behind(level, setup)
        if plan.facts.layer is not None:
            plan.driven = driven.plan.driven
            node.__dict__[DRIVEN] = driven
        return driven, plan, setup
    step = None if current is None else _step_of(current, node)
    if step is None or current is None:
        setup = Setup(Unrecorded(), grace=node.grace)
        plan = Plan(node, label(node), path_part(label(node)), setup, level + 1)
    else:
        setup = current.setup
        plan = step.behind(level, setup)
    if plan.facts.layer is not None:
        plan.serve(node, is_shared=step is None)
    return None, plan, setup


def _step_of(driven: Driven, node: Any) -> Plan | None:
    """Return the plan of the step of a flow that this is a copy of, if it is one."""
    owner = driven.plan.behind(EXEC, driven.setup)
    if not owner.facts.is_flow or driven.visit.start_node is None:
        return None
    start = driven.visit.start_node
    for step in reachable(start):
        if step.successors is node.successors:
            return owner.child(step, start, driven.setup)
    return None


def _hiding(setup: Setup, plan: Plan, driven: Driven) -> Setup:
    """Return the setup of a run that records no row and no event for the visits of one plan, which have their own."""

    def note(row: tuple[Any, ...]) -> None:
        if plan.facts.layer is None:  # else the inner layer has noted it
            driven.attempts += row[3]
            driven.status = "fallback" if row[4] == "fallback" else driven.status

    hiding = copy.copy(setup)
    hiding.recorder, hiding.silent_path = Hiding(setup.recorder, plan, note), plan.path
    return hiding
