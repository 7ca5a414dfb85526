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
Local variables are only copies. Flows are walked by `walks`, an exec of several calls is made by `visit_exec`,
exceptions are handled by `unwind`, and actions are checked by `actions`.
"""

from asyncio import CancelledError
from time import perf_counter as clock

from .actions import check_action, check_steps, lost_action, route
from .awaitables import PLAIN, is_awaitable
from .batch import positions_of
from .events import Event
from .plan import NOWHERE
from .position import (
    AFTER_EXEC,
    AFTER_ITEM,
    AFTER_POST,
    AFTER_PREP,
    ARRIVE,
    ARRIVED,
    BEFORE_PREP,
    BOUNDARY,
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
)
from .setup import Setup
from .unwind import LOST, claim_expansion_usage, claim_usage, recover
from .visit_exec import PUSHED, continue_exec, hand_over, item_done, start_exec
from .walks import call_expansion, elements_ended, expand, walk_ended

__all__ = ["advance"]


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
    new, stamp = object.__new__, setup.stamp
    if position.paused_at is not None:
        _leave_out_pause(frames, clock() - position.paused_at)
        position.paused_at = None
    while True:
        try:
            if position.error is not None:
                error, position.error = position.error, None
                if frames[-1].phase == EXECED and isinstance(error, Exception | CancelledError):  # it was awaited
                    return hand_over(position, frames[-1], None, error)
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
                    frame.visit = visit  # only now: the clocks tell a checkpoint how far a visit came
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
                            return position.wait_for(prep_res, "prep_res")
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
                            return hand_over(position, frame, None, exc)
                        if type(exec_res) not in PLAIN and is_awaitable(exec_res):
                            return hand_over(position, frame, exec_res, None)
                        frame.exec_res = exec_res
                    else:
                        frame.phase = WORKING
                        need = start_exec(position, setup, frame, mask)
                        if need == PUSHED:
                            break
                        if need:
                            return need
                elif phase == WORKING:
                    if mask & AFTER_ITEM and item_done(frame):
                        return _pause(position, WORKING)
                    need = continue_exec(position, setup, frame, mask)
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
                        return position.wait_for(action, "action")

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
                        setup.notify(event._replace(usage=frame.spent, param_sets=around))
                    frame.visit = None
                    if frame.work is not None or frame.spent:
                        claim_usage(position, setup, frame)
                        frame.work, frame.attempts, frame.status = None, 1, "ok"
                        visit.__dict__.pop("cur_retry", None)  # the copy of the outermost node stays
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
                    claim_expansion_usage(position, setup, work)
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


def _leave_out_pause(frames: list[Frame], seconds: float) -> None:
    """Move the clocks of visits in progress, so that time spent at a boundary counts for no hook."""
    for frame in frames:
        frame.t_start += seconds
        frame.t_prepared += seconds
        frame.t_executed += seconds
        if frame.walk is not None:
            frame.walk.set_started += seconds
