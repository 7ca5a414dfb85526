"""The interpreter: one function that moves a position.

`advance` runs on until one of these, and says which:

* ``BOUNDARY``: it reached a boundary that the mask names: before prep, after prep, after exec, after post. With
  ``AFTER_ITEM``: after each item of a batch node; items are then called one at a time.
* ``AWAIT``: ``position.awaiting`` is what an async hook returned; await it, then `Position.resume` or `throw`. The hook
  is ``prep`` or ``post``, or ``exec`` if ``position.awaits_exec`` is true.
* ``CALLS``: the top frame's ``work`` holds calls to make; settle each, then advance again.
* ``SETS``: likewise, but each of them is a param set to walk in a position of its own (`walks.position_of_set`).
* ``END``: ``position.action`` and ``position.result`` are there.

It knows no thread, event loop, pool or widget. Every way of running is a loop over it, so stepping cannot differ from
running. All state that a checkpoint needs is written to the frame immediately, so an exception may come at any line.
Local variables are only copies. Flows are walked by `walks`, exceptions handled by `unwind`, actions checked by
`actions`.
"""

from asyncio import CancelledError
from time import perf_counter as clock
from types import CoroutineType
from typing import Any

from ..core.usage import Usage
from .actions import check_action, check_steps, lost_action, route
from .awaitables import PLAIN, is_awaitable
from .batch import PENDING, Batch, Outcome, open_batch, positions_of
from .checkpoint import keep_place
from .events import Event, ReplayedAttempts
from .plan import NOWHERE
from .position import (
    AFTER_EXEC,
    AFTER_ITEM,
    AFTER_POST,
    AFTER_PREP,
    ALL,
    ARRIVE,
    ARRIVED,
    AWAIT,
    BEFORE_PREP,
    BOUNDARY,
    CALLS,
    END,
    EXEC,
    EXECED,
    EXPAND,
    LEAVE,
    POST,
    POSTED,
    PREP,
    PREPPED,
    SETS,
    WORKING,
    Frame,
    Position,
    set_by_hooks,
)
from .setup import Setup
from .unwind import LOST, claim_usage, recover
from .walks import call_expansion, elements_ended, enter, expand, next_set, take_sets, walk_ended

__all__ = [
    "AFTER_EXEC",
    "AFTER_ITEM",
    "AFTER_POST",
    "AFTER_PREP",
    "ALL",
    "AWAIT",
    "BEFORE_PREP",
    "BOUNDARY",
    "CALLS",
    "END",
    "SETS",
    "advance",
    "take_results",
]

_PUSHED = "pushed"


def advance(position: Position, setup: Setup, mask: int = 0) -> str:
    """Move a position to the next boundary in ``mask``, to what it needs its driver for, or to its end.

    Raises:
        Exception: Whatever a hook raised, unless a batch flow on the way keeps failures. The position has then ended.
    """
    __tracebackhide__ = True
    frames = position.frames
    shared = position.shared
    inline = position.inline
    watched, stop = bool(setup.subscribers), setup.stop
    record = setup.recorder.add_visit
    new, stamp, spent = object.__new__, setup.stamp, setup.recorder.spent
    if position.paused_at is not None:
        _leave_out_pause(frames, clock() - position.paused_at)
        position.paused_at = None
    while True:
        try:
            if position.error is not None:
                error, position.error = position.error, None
                if frames[-1].phase == EXECED and isinstance(error, Exception | CancelledError):  # it was awaited
                    return _hand_over(position, frames[-1], None, error)
                raise error
            frame = frames[-1]
            phase = frame.phase
            walk, params = frame.walk, frame.params
            node, plan, visit = frame.node, frame.plan, frame.visit
            prep_res, action = frame.prep_res, frame.action
            if phase == ARRIVE:
                plan = NOWHERE  # that of the visit before, if any, may be of another run
            facts = plan.facts

            # One round is one visit. A position that stopped in the middle of it enters at its phase; the two phases of
            # an element of a batch flow, which come before any visit, pass by them all, to the end of the round.
            while True:
                if phase == ARRIVE:
                    if plan.node is not node:
                        following = walk.owner.children.get(id(node))  # `Plan.child`, without its call for each set
                        if following is None or following.stamp is not stamp:
                            following = walk.owner.child(node, walk.start, setup)
                        plan = following
                    frame.plan = plan
                    facts = plan.facts
                    walk.steps += 1
                    if walk.steps > walk.check_at:
                        check_steps(frame, setup)
                    if facts.copies_plainly:  # Plan.clone, written out: a call would cost a tenth of the visit
                        visit = new(facts.cls)
                        attributes = node.__dict__.copy()
                        attributes["params"] = params
                        visit.__dict__ = attributes
                    else:
                        visit = plan.clone(params)
                    if walk.inner_items is not None and node is walk.start:
                        visit.__dict__["items"] = walk.inner_items

                if mask and phase <= ARRIVED and mask & BEFORE_PREP:
                    frame.t_start = frame.t_prepared = clock()
                    frame.visit = visit
                    return _pause(position, PREP)

                if phase <= PREP:
                    frame.t_start = frame.t_prepared = clock()
                    frame.visit = visit  # only now: a checkpoint reads off the clocks how far a visit came
                    if watched:
                        around = positions_of(position.param_set())
                        setup.notify(Event("visit_started", plan.path, visit.params, param_sets=around))
                        frame.t_start = frame.t_prepared = clock()
                    if stop is not None:
                        stop.check()  # in the visit: between two of them, a run cannot be resumed
                    if facts.has_prep:
                        prep_res = visit.prep(shared) if facts.plain_names else getattr(visit, facts.hooks.prep)(shared)
                        frame.prep_res = prep_res
                        if type(prep_res) not in PLAIN and is_awaitable(prep_res):
                            frame.phase = PREPPED
                            return _await(position, prep_res, "prep_res")
                        frame.t_prepared = clock()
                    else:
                        frame.prep_res = prep_res = None
                elif phase == PREPPED:
                    frame.t_prepared = clock()

                if mask and phase <= PREPPED and mask & AFTER_PREP:
                    return _pause(position, EXEC)

                if phase <= EXEC:
                    if facts.direct and inline:
                        try:
                            exec_res = visit.exec(shared, prep_res) if facts.exec_takes_shared else visit.exec(prep_res)
                        except (Exception, CancelledError) as exc:
                            return _hand_over(position, frame, None, exc)
                        if type(exec_res) not in PLAIN and is_awaitable(exec_res):
                            return _hand_over(position, frame, exec_res, None)
                        frame.exec_res = exec_res
                    else:
                        frame.phase = WORKING
                        need = _start_exec(position, setup, frame, mask)
                        if need == _PUSHED:
                            break
                        if need:
                            return need
                elif phase == WORKING:
                    if mask & AFTER_ITEM and _item_done(frame):
                        return _pause(position, WORKING)
                    need = _continue_calls(position, setup, frame, mask)
                    if need:
                        return need

                if phase <= EXECED:
                    frame.t_executed = clock()
                    if mask and mask & AFTER_EXEC:
                        return _pause(position, POST)

                if phase <= POST:
                    if not facts.has_post:
                        action = None
                    elif facts.plain_names:
                        action = visit.post(shared, frame.prep_res, frame.exec_res)
                    else:
                        action = getattr(visit, facts.hooks.post)(shared, frame.prep_res, frame.exec_res)
                    frame.action = action
                    if action is not None and type(action) is not str and is_awaitable(action):
                        frame.phase = POSTED
                        return _await(position, action, "action")

                if phase <= POSTED:
                    if action is not None and action.__class__ is not str:
                        check_action(plan, action)
                    if mask and mask & AFTER_POST:
                        return _pause(position, LEAVE)

                if phase <= LEAVE:
                    executed = frame.t_executed
                    now = clock() if facts.has_post else executed
                    # fmt: off
                    record((plan, params, action, frame.attempts, frame.status,
                            frame.t_start, frame.t_prepared, executed, now))
                    # fmt: on
                    if watched:
                        event = Event("visit_finished", plan.path, visit.params, None, 0, frame.status, action)
                        around = positions_of(position.param_set())
                        setup.notify(event._replace(usage=tuple(spent), param_sets=around))
                    frame.visit = None
                    if spent or frame.work is not None:
                        claim_usage(position, setup, frame)
                        frame.work, frame.attempts, frame.status = None, 1, "ok"
                        visit.__dict__.pop("cur_retry", None)  # the node that a run begins with stays
                    if walk is None:  # the node that is run: its edges are not followed
                        target = None
                    elif walk.has_router:
                        target = route(walk.flow, visit, action)
                    else:
                        successors = node.successors
                        target = successors.get(action or "default")
                        if target is None and successors:
                            lost_action(setup, frames, action, list(successors))
                    if target is not None:
                        following = plan.next  # mostly it is where this node led to before
                        if following.node is not target or (
                            following.stamp is not stamp and not following.renew(setup)
                        ):
                            following = plan.next = walk.owner.child(target, walk.start, setup)
                        plan = following
                        node = frame.node = target
                        phase = ARRIVE
                        continue
                    value = frame.result if facts.is_flow else frame.exec_res
                    if walk_ended(position, setup, value, action, now):
                        return END
                    if frames[-1] is frame and frame.phase == ARRIVE:  # the next param set of the same walk
                        node, params, phase = frame.node, frame.params, ARRIVE
                        continue
                    break

                if phase == EXPAND:
                    need = call_expansion(position, frame)
                    if need:
                        return need
                else:  # EXPANDED
                    work = frame.work
                    assert work is not None
                    if not work.is_single:  # the elements that it returned: their walk was resumed
                        if work.retry_queue or not work.items.exhausted:
                            return SETS
                        work.require_results("param sets")
                        if elements_ended(position, setup, work):
                            return END
                        break
                    frame.exec_res, frame.work = work.outcomes.results[0], None
                if expand(position, setup, frame, frame.exec_res):
                    return END
                break
        except BaseException as exc:
            outcome = recover(position, setup, exc)
            if outcome == LOST:
                raise
            if outcome == END:
                return END


def _pause(position: Position, phase: int) -> str:
    position.frames[-1].phase = phase
    position.paused_at = clock()
    return BOUNDARY


def _item_done(frame: Frame) -> bool:
    """Whether an item of a batch node has been called since `advance` last stopped after one."""
    work = frame.work
    if work is None or work.is_single or frame.plan.facts.is_flow or work.items.read <= frame.items_told:
        return False
    frame.items_told = work.items.read
    return True


def _leave_out_pause(frames: list[Frame], seconds: float) -> None:
    """Move the clocks of visits in progress, so that time spent at a boundary counts for no hook."""
    for frame in frames:
        frame.t_start += seconds
        frame.t_prepared += seconds
        frame.t_executed += seconds
        if frame.walk is not None:
            frame.walk.set_started += seconds


def _await(position: Position, awaitable: Any, slot: str) -> str:
    position.awaiting = awaitable
    position.slot = slot
    return AWAIT


def _hand_over(position: Position, frame: Frame, awaitable: Any, error: BaseException | None) -> str:
    """Let the driver continue a call whose first attempt started here: it failed, or has to be awaited."""
    if error is None and position.awaits_exec:
        frame.phase = EXECED
        return _await(position, awaitable, "exec_res")
    frame.work = Batch.single(frame.plan, frame.params, frame.prep_res)
    frame.work.started = (frame.prep_res, awaitable, error, frame.t_prepared)
    frame.phase = WORKING
    return CALLS


def _call_async(position: Position, frame: Frame) -> str:
    """Call an async exec that the driver awaits itself.

    Return "" if the result was not awaitable: the call has then ended.
    """
    __tracebackhide__ = True
    facts = frame.plan.facts
    exec_ = getattr(frame.visit, facts.hooks.exec)
    try:
        result = exec_(position.shared, frame.prep_res) if facts.exec_takes_shared else exec_(frame.prep_res)
    except (Exception, CancelledError) as exc:
        return _hand_over(position, frame, None, exc)
    if type(result) is CoroutineType or is_awaitable(result):
        return _hand_over(position, frame, result, None)
    frame.exec_res = result
    return ""


def _start_exec(position: Position, setup: Setup, frame: Frame, mask: int) -> str:
    """Start an exec that is more than one direct call. Return "" if it has already ended."""
    __tracebackhide__ = True
    plan, facts = frame.plan, frame.plan.facts
    if facts.layer is not None:  # a stepper may have gone back to here
        driven = plan.driven_by(frame.visit, position.shared)
        driven.attempts, driven.status = 0, "ok"
    if facts.kind == "node":
        if facts.awaited and position.awaits_exec:
            return _call_async(position, frame)
        frame.work = Batch.single(plan, frame.params, frame.prep_res)
        return _continue_calls(position, setup, frame, mask)
    if facts.kind == "flow":
        setup.recorder.drop_old()
        position.frames.append(enter(frame.visit, plan))
        return _PUSHED
    what = f"{plan.path}.{facts.hooks.prep}"
    items = frame.prep_res
    if facts.kind == "batch_flow":
        sets = open_batch(plan, frame.visit.params, items, f"{what} (a BatchFlow)", keep=True)
        sets.outcomes.actions = []
        sets.visit, sets.hook_attributes = frame.visit, set_by_hooks(frame)
        sets.parent_set = position.param_set()
        setup.recorder.add_batch(sets)
        if sets.items.is_async or (plan.settings.limit != 1 and setup.concurrent):
            plan.require_start(frame.visit)  # now, and not once for each set
            frame.work = sets
            return SETS
        inner = enter(frame.visit, plan)
        inner.walk.sets = sets
        position.frames.append(inner)
        next_set(position, setup, clock())
        return _PUSHED
    frame.items_told = 0
    frame.work = open_batch(plan, frame.params, items, f"{what} (a BatchNode)", keep=plan.settings.keep_items)
    frame.work.visit, frame.work.hook_attributes = frame.visit, set_by_hooks(frame)
    frame.work.parent_set = position.param_set()
    setup.recorder.add_batch(frame.work)
    return _continue_calls(position, setup, frame, mask)


def _continue_calls(position: Position, setup: Setup, frame: Frame, mask: int) -> str:
    """Continue the calls of a visit. Return "" if all have ended: ``exec_res`` is then set."""
    work = frame.work
    assert work is not None
    if frame.plan.facts.kind == "batch_flow":
        if work.retry_queue or not work.items.exhausted:  # the visit was resumed
            return SETS
        if work.outcomes.exceptional and not mask:
            keep_place(position, work)
        take_results(frame, work)
        return ""
    if work.retry_queue:
        return CALLS
    if not work.items.exhausted and not (work.is_single and work.items.read):
        if work.items.is_async or mask & AFTER_ITEM or not (frame.plan.facts.inline and position.inline):
            return CALLS
        _make_calls(frame, work, position.shared, setup.recorder.spent)
        if work.started is not None:
            return CALLS
    if work.outcomes.exceptional and not mask:
        keep_place(position, work)
    take_results(frame, work)
    return ""


def take_results(frame: Frame, work: Batch) -> None:
    """Give a visit the results of its calls or param sets, for ``post``.

    Raises:
        AllFailedError: There were several, and none has a result.
    """
    __tracebackhide__ = True
    if frame.plan.facts.kind == "batch_flow":
        work.require_results("param sets")
        take_sets(frame, work)
        return
    if work.is_single:
        frame.exec_res = work.outcomes.results[0]
        if 0 in work.outcomes.exceptional:
            frame.status = work.outcomes.exceptional[0].status
    else:
        work.require_results("items")
        frame.exec_res = work.outcomes.results[:]  # a list of the user's own; these columns are the record
        frame.prep_res = work.items.for_post(frame.prep_res, work.plan.path)
    _note_attempts(frame, work)


def _note_attempts(frame: Frame, work: Batch) -> None:
    """Note how many attempts were made, also within an override; ``post`` finds the last one in ``cur_retry``."""
    frame.attempts = work.attempts_of_visit
    if frame.plan.facts.layer is not None:
        driven = frame.plan.driven_by(frame.visit)
        frame.attempts, frame.status = driven.attempts or frame.attempts, driven.status
    last = frame.attempts
    if not work.is_single:
        outcome = work.outcomes.exceptional.get(work.items.read - 1)
        last = 1 if outcome is None else outcome.attempts
    if last > 1:
        frame.visit.__dict__["cur_retry"] = last - 1
    if work.is_replayed:
        frame.attempts = ReplayedAttempts(frame.attempts)


def _make_calls(frame: Frame, work: Batch, shared: Any, spent: list[Usage]) -> None:
    """Call ``exec`` for the items, one after the other, until they end or one needs the driver.

    This loop must be fast. If all items are known at the start, each item costs two appends and one clock reading. An
    item's start time is then the end time of the item before.
    """
    __tracebackhide__ = True
    facts = frame.plan.facts
    exec_, takes_shared = getattr(frame.visit, facts.hooks.exec), facts.exec_takes_shared
    if facts.layer is not None:
        shared = frame.plan.driven_by(frame.visit, shared)
    items, outcomes = work.items, work.outcomes
    results, has_all = outcomes.results, items.is_materialised
    keep = items.values.append if items.values is not None and not has_all else None
    add_result, add_seconds = results.append, outcomes.seconds.append
    in_exec = False
    of_prep = spent[:]
    spent.clear()
    started = clock()
    try:
        for item in items.source:
            if not has_all:
                if keep is not None:
                    keep(item)
                started = clock()
            try:
                result = exec_(shared, item) if takes_shared else exec_(item)
            except (Exception, CancelledError) as exc:
                work.started = (item, None, exc, started)
                return
            except BaseException as exc:
                in_exec = True
                outcomes.exceptional[len(results)] = Outcome("cancelled", 1, exc)
                if items.values is None:
                    items.dropped[len(results)] = item
                add_result(PENDING)
                add_seconds(clock() - started)
                raise
            if type(result) not in PLAIN and is_awaitable(result):
                work.started = (item, result, None, started)
                return
            add_result(result)  # at once: it is paid for
            if spent:
                _claim_for_item(work, spent, len(results) - 1)
            ended = clock()
            add_seconds(ended - started)
            started = ended
        items.exhausted = True
    except BaseException:
        items.read_failed = not in_exec  # the input failed, or an interrupt lost an item between the input and here
        raise
    finally:
        items.read = len(results)
        if spent:  # of an attempt that failed
            _claim_for_item(work, spent, len(results) - in_exec)
        spent += of_prep


def _claim_for_item(work: Batch, spent: list[Usage], index: int) -> None:
    """Give an item what its call has used."""
    work.add_usage(index, spent)
    spent.clear()
