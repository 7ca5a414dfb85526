"""How a run or a param set goes on from where it failed or was stopped, and a batch with the items without a result.

What was there when it ended is kept as it was (`recovery.keep`); here it is made ready to be advanced again: the plans
are made anew, since classes and settings may have been changed since, and the visit at the top is set back to the hook
that did not end. What was paid for stays: an ``exec`` that had answered is not called again.
"""

from collections.abc import Iterator
from time import perf_counter as clock
from typing import Any

from .batch import Batch, Outcome, without_result
from .plan import Plan, Setup
from .position import ARRIVE, ARRIVED, EXEC, POST, WORKING, Frame, Position, most_steps
from .walks import branch

__all__ = [
    "at_item",
    "at_set",
    "at_work",
    "errors_within",
    "gone_on",
    "plan_anew",
    "where_it_ended",
]


def at_work(node: Any, batch: Batch, rows: list[int], shared: Any, setup: Setup) -> Position:
    """Return a position in which a node calls some items of a batch again.

    Args:
        node: The node as it is to be used.
        batch: The items.
        rows: Which of them to call.
        shared: As for any position.
        setup: As for any position.
    """
    old = batch.plan
    frame = Frame(None, None, batch.params, node)
    frame.plan = Plan(node, old.name, old.path, setup, old.within)
    frame.children = {id(node): frame.plan}
    before = vars(old.node)
    left = {name: value for name, value in batch.left.items() if vars(node).get(name) is before.get(name)}
    frame.visit = _visit_again(frame.plan, batch.visit, batch.params, left)  # a setting for this one time wins
    frame.work = batch
    frame.prep_res = batch.returned
    frame.phase = WORKING
    frame.t_start = frame.t_prepared = clock()
    batch.call_again(rows)
    return Position(shared, [frame], inline=False)


def gone_on(kept: Position, setup: Setup, shared: Any) -> Position | None:
    """Return a position that goes on from a kept one; None where the way there cannot be taken up.

    By default a walk is taken up only if ``shared`` holds the same values under the same keys as it did then: what an
    earlier node of the walk had left there may by now be another walk's.
    """
    if kept.frames[0].owner is None:  # made by `at_work`: it stands ready
        return kept
    unchanged = kept.seen is not None and _same_values(kept.seen, shared)
    if setup.from_start is None and not unchanged:
        setup.begun_anew += 1
        return None
    if setup.from_start:
        return None
    frames = [frame.same() for frame in kept.frames]
    if frames[-1].visit is None and not _take_down(frames):
        return None
    frames[0].sets = None  # its row is settled by whoever walks it
    if not all(frame.sets.can_go_on for frame in frames if frame.sets is not None):
        return None
    for below, frame in zip([None, *frames], frames, strict=False):
        _plan_anew(frame, setup)
        if below is not None:
            frame.flow = below.flow if frame.implicit else below.visit
    position = Position(shared, frames, inline=False)
    position.context = kept.context
    _take_up(position, kept.left, setup)
    return position


def where_it_ended(ended: Position, setup: Setup) -> Position | None:
    """Return a position that goes on where a run failed or was stopped; None where that cannot be taken up."""
    frames = [frame.same() for frame in ended.held or ()]
    if not frames or (frames[-1].visit is None and not _take_down(frames)):
        return None
    if not all(frame.sets.can_go_on for frame in frames if frame.sets is not None):
        return None
    position = Position(ended.shared, frames)
    position.context = ended.context
    plan_anew(position, setup)
    _take_up(position, ended.left, setup)
    position.outermost = frames[0].visit, dict(vars(frames[0].node))
    return position


def errors_within(frames: list[Frame]) -> Iterator[BaseException]:
    """Go through the errors of the calls, and of the param sets walked side by side, that are made again from here."""
    for frame in frames:
        if frame.work is not None:
            yield from frame.work.errors()
            for kept in frame.work.kept.values():
                yield from errors_within(kept.frames)
    if frames and frames[-1].visit is None and frames[-1].sets is not None:  # they have all failed, see `_take_down`
        yield from frames[-1].sets.errors()


def _take_up(position: Position, left: dict[str, Any], setup: Setup) -> None:
    """Make a position ready to be advanced: param sets that ended are under way again, the top visit is set back.

    ``left``: what its hooks had set on it, where it is not made anew.
    """
    frames = position.frames
    now = position.paused_at = clock()  # the clocks of the frames start when it is advanced
    for frame in frames:
        frame.set_started = now
        frame.max_steps = most_steps(frame.owner)  # which may be another one now
        frame.check_at = min(frame.steps, frame.max_steps)
        if frame.sets is not None:
            frame.set_started = now - _reopen(frame.sets)
            frame.sets.read_on()
            frame.set_open = True
    top = frames[-1]
    old = top.work
    _set_back(top)
    for frame in frames:  # what came before has a row of its own
        frame.t_start = frame.t_prepared = frame.t_executed = now
    if top.visit is not None and top.phase != ARRIVE:
        top.visit.__dict__.update(left)
    if old is not None and not old.is_single and top.work is not old:
        setup.recorder.superseded(lambda batch: batch is old)


def at_item(batch: Batch, item: Any, shared: Any, setup: Setup) -> Position:
    """Return a position in which the node of a batch stands before its exec, with one item and no others."""
    old = batch.plan
    frame = Frame(None, None, batch.params, old.node)
    frame.plan = Plan(old.node, old.name, old.path, setup, old.within)
    frame.children = {id(old.node): frame.plan}
    frame.visit = _visit_again(frame.plan, batch.visit, batch.params, batch.left)
    frame.prep_res = [item]
    frame.phase = EXEC
    frame.steps = 1
    return Position(shared, [frame])


def at_set(batch: Batch, place: int, kept: Position | None, shared: Any, setup: Setup) -> Position:
    """Return a position in which one param set of a batch flow is walked: from where it failed, if it did.

    Args:
        batch: The param sets.
        place: Which of them.
        kept: Where it failed; None: walk it from its start.
        shared: As for any position.
        setup: As for any position.
    """
    there = None if kept is None else gone_on(kept, setup, shared)
    if there is not None:
        there.inline = True
        return there
    old = batch.plan
    plan = Plan(old.node, old.name, old.path, setup, old.within)
    visit = _visit_again(plan, batch.visit, batch.params, batch.left)
    frame = Frame(None, None, batch.params, old.node)
    frame.plan, frame.visit = plan, visit
    frame.work = batch
    position = branch(Position(shared, [frame]), place, batch.item_at(place))
    position.inline = True
    return position


def plan_anew(position: Position, setup: Setup) -> None:
    """Have a position go on with the classes and settings that its nodes have now.

    Raises:
        TypeError: The new class of a node has another layout than the object that serves a visit.
    """
    below: Frame | None = None
    for frame in position.frames:
        if below is None and frame.owner is None:
            old = frame.plan
            frame.plan = Plan(frame.node, old.name, old.path, setup, old.within)
            frame.children = {id(frame.node): frame.plan}
        elif below is None:
            _plan_anew(frame, setup)
        else:
            frame.owner = below.owner if frame.implicit else below.plan
            frame.children = frame.owner.children
            frame.plan = frame.owner.child(frame.node, frame.start, setup)
        for batch, plan in ((frame.work, frame.plan), (frame.sets, frame.owner)):
            if batch is not None:
                batch.plan = plan
        if frame.visit is not None and type(frame.visit) is not frame.plan.cls:
            frame.visit.__class__ = frame.plan.cls
        below = frame


def _take_down(frames: list[Frame]) -> bool:
    """Turn a walk whose param sets have all failed into a visit that has them to call again. False: it is none."""
    if len(frames) == 1 or frames[-1].sets is None or frames[-1].implicit:
        return False
    walk = frames.pop()
    frames[-1].work = walk.sets
    return True


def _same_values(then: dict[Any, Any], now: Any) -> bool:
    return isinstance(now, dict) and then.keys() == now.keys() and all(now[key] is then[key] for key in then)


def _plan_anew(frame: Frame, setup: Setup) -> None:
    old = frame.owner
    frame.owner = Plan(old.node, old.name, old.path, setup, old.within)
    frame.children = frame.owner.children
    if frame.visit is not None:
        frame.plan = frame.owner.child(frame.node, frame.start, setup)


def _reopen(sets: Batch) -> float:
    """Take back the row of the param set that ended last, which is in progress again. Returns its seconds so far."""
    place = sets.taken - 1
    seconds = sum(sets.seconds[place:])
    before = sets.odd.get(place)
    del sets.results[place:], sets.seconds[place:]
    del sets.actions[place:]  # type: ignore[union-attr]
    sets.odd[place] = Outcome("ok", (before.attempts if before else 1) + 1)
    return seconds


def _set_back(frame: Frame) -> None:
    """Set a visit back to the hook that did not end."""
    plan, work = frame.plan, frame.work
    reached = _reached(frame)
    if reached == POST:  # exec has answered, and nothing of it is made again
        frame.phase, frame.attempts = POST, 0
        if plan.kind == "node" and work is None:
            frame.work = Batch.single(plan, frame.params, frame.prep_res)
        elif work is not None:
            work.attempts_before = work.attempts
    elif work is not None and work.is_single and without_result(work):
        frame.phase, frame.work = EXEC, None
    elif work is None and plan.kind == "node" and (reached >= EXEC or not plan.has_prep):
        frame.phase = EXEC  # which was interrupted as it was called on the spot
    elif work is not None and work.can_go_on:
        frame.phase = WORKING
        work.plan = plan
        work.attempts_before = work.attempts
        work.call_again([i for i in without_result(work) if i < work.taken])
    elif frame.owner is None:  # a run begins with a visit
        frame.phase, frame.work = ARRIVED, None
    else:
        frame.phase, frame.work = ARRIVE, None
        frame.steps -= 1
        return
    frame.visit = _visit_again(plan, frame.visit, frame.params)
    frame.reached = (frame.visit, frame.phase)


def _reached(frame: Frame) -> int:
    """The phase that a visit has come to: read off its clocks, which since it was resumed count from there."""
    if frame.t_executed >= frame.t_prepared >= frame.t_start and frame.t_executed > frame.t_start:
        return POST
    if frame.t_prepared > frame.t_start:
        return EXEC
    is_resumed = frame.reached is not None and frame.reached[0] is frame.visit
    return frame.reached[1] if is_resumed and frame.reached is not None else ARRIVED


def _visit_again(plan: Plan, old: Any, params: Any, left: dict[str, Any] | None = None) -> Any:
    """The node as it is now, with what its hooks had left on the copy that served the visit before.

    ``left``: what they had set by a certain time, which wins over what the node has.
    """
    visit = plan.clone(params)
    for name, value in (vars(old) if old is not None else {}).items():
        visit.__dict__.setdefault(name, value)
    visit.__dict__.update(left or {})
    return visit
