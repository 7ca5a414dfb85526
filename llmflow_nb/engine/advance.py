"""The interpreter: one function that moves a position.

`advance` runs on until one of these, and says which:

* ``BOUNDARY``: it came to a boundary that the mask names: before prep, after prep, after exec, after post.
* ``AWAIT``: ``position.awaiting`` is a coroutine of ``prep`` or ``post``; await it, then `Position.resume` or `throw`.
* ``CALLS``: the top frame's ``work`` holds calls to make; settle each, then go on.
* ``SETS``: likewise, but each of them is a param set to walk in a position of its own (`branch`).
* ``END``: ``position.action`` and ``position.result`` are there.

It knows no thread, event loop, pool or widget. Every way of running is a loop over it, so stepping cannot differ from
running. State is kept in the frame and not in local variables, so that an exception may come at any line.
"""

from asyncio import CancelledError
from collections.abc import Mapping
from contextlib import suppress
from time import perf_counter as clock
from types import CoroutineType
from typing import Any

from ..core.errors import AllFailedError, HookReturnError, LostActionError, MaxStepsError, a_type, did_you_mean, warn
from ..core.node import kind_of, label
from ..core.params import Params
from .batch import PENDING, Batch, DroppedItems, Outcome, iter_is_self, open_items
from .events import Event
from .plan import Plan, Setup
from .position import (
    ARRIVE,
    ARRIVED,
    EXEC,
    EXECED,
    EXPAND,
    EXPANDED,
    LEAVE,
    POST,
    POSTED,
    PREP,
    PREPPED,
    WORKING,
    Frame,
    Position,
)

__all__ = [
    "AFTER_EXEC",
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
]

BEFORE_PREP, AFTER_PREP, AFTER_EXEC, AFTER_POST = 1, 2, 4, 8
ALL = BEFORE_PREP | AFTER_PREP | AFTER_EXEC | AFTER_POST

END, BOUNDARY, AWAIT, CALLS, SETS = "end", "boundary", "await", "calls", "sets"


def advance(position: Position, setup: Setup, mask: int = 0) -> str:
    """Move a position to the next boundary in ``mask``, to what it needs its driver for, or to its end.

    Raises:
        Exception: Whatever a hook raised, unless a batch flow on the way keeps failures. The position has then ended.
    """
    __tracebackhide__ = True
    frames = position.frames
    shared = position.shared
    inline = position.inline
    watched = bool(setup.subscribers)
    record = setup.recorder.visit
    new = object.__new__
    if position.paused_at is not None:
        _leave_out_pause(frames, clock() - position.paused_at)
        position.paused_at = None
    while True:
        try:
            if position.error is not None:
                error, position.error = position.error, None
                raise error
            frame = frames[-1]
            phase = frame.phase
            children, params = frame.children, frame.params
            node, plan, visit, prep_res = frame.node, frame.plan, frame.visit, frame.prep_res

            # One round is one visit. A position that stopped in the middle of it enters at its phase.
            while True:
                if phase == ARRIVE:
                    plan = children.get(id(node)) or frame.owner.child(node, frame.start, setup)
                    frame.plan = plan
                    frame.steps += 1
                    if frame.steps > frame.max_steps:
                        raise _endless(frame)
                    if plan.copies_plainly:  # Plan.clone, written out: a call would cost a tenth of the visit
                        visit = new(plan.cls)
                        attributes = node.__dict__.copy()
                        attributes["params"] = params
                        visit.__dict__ = attributes
                    else:
                        visit = plan.clone(params)
                    frame.visit = visit
                    if frame.handed is not None and node is frame.start:
                        visit.__dict__["items"] = frame.handed

                if mask and phase <= ARRIVED and mask & BEFORE_PREP:
                    frame.phase = PREP
                    return _pause(position)

                if phase <= PREP:
                    if watched:
                        setup.tell(Event("visit_started", plan.path, visit.params))
                    frame.t_start = frame.t_prepared = clock()
                    if plan.has_prep:
                        prep_res = visit.prep(shared) if plan.plain_names else getattr(visit, plan.hooks.prep)(shared)
                        frame.prep_res = prep_res
                        if prep_res.__class__ is CoroutineType:
                            frame.phase = PREPPED
                            return _await(position, prep_res, "prep_res")
                    else:
                        frame.prep_res = prep_res = None

                if phase <= PREPPED:
                    if plan.has_prep:
                        frame.t_prepared = clock()
                    if mask and mask & AFTER_PREP:
                        frame.phase = EXEC
                        return _pause(position)

                if phase <= EXEC:
                    if plan.direct and inline:
                        try:
                            exec_res = visit.exec(shared, prep_res) if plan.exec_takes_shared else visit.exec(prep_res)
                        except Exception as exc:
                            return _hand_over(position, frame, None, exc)
                        if exec_res.__class__ is CoroutineType:
                            return _hand_over(position, frame, exec_res, None)
                        frame.exec_res = exec_res
                    else:
                        frame.phase = WORKING
                        need = _begin_exec(position, setup, frame)
                        if need == _PUSHED:
                            break
                        if need:
                            return need
                elif phase == WORKING:
                    need = _go_on_with_items(position, setup, frame)
                    if need:
                        return need

                if phase <= EXECED:
                    frame.t_executed = clock()
                    if mask and mask & AFTER_EXEC:
                        frame.phase = POST
                        return _pause(position)

                if phase <= POST:
                    if not plan.has_post:
                        action = None
                    elif plan.plain_names:
                        action = visit.post(shared, frame.prep_res, frame.exec_res)
                    else:
                        action = getattr(visit, plan.hooks.post)(shared, frame.prep_res, frame.exec_res)
                    frame.action = action
                    if action.__class__ is CoroutineType:
                        frame.phase = POSTED
                        return _await(position, action, "action")

                if phase <= POSTED:
                    action = frame.action
                    if action is not None and action.__class__ is not str:
                        _check_action(plan, action)
                    if mask and mask & AFTER_POST:
                        frame.phase = LEAVE
                        return _pause(position)

                if phase <= LEAVE:
                    action = frame.action
                    # fmt: off
                    record((plan, params, action, frame.attempts, frame.status,
                            frame.t_start, frame.t_prepared, frame.t_executed, now := clock()))
                    # fmt: on
                    if watched:
                        setup.tell(Event("visit_finished", plan.path, visit.params, None, 0, frame.status, action))
                    frame.visit = None
                    if frame.work is not None:
                        frame.work, frame.attempts, frame.status = None, 1, "ok"
                    successors = node.successors
                    target = None
                    if successors and frame.owner is not None:
                        target = successors.get(action or "default")
                        if target is None:
                            _lost_action(setup, frame, action, list(successors))
                    if target is not None:
                        node = frame.node = target
                        phase = ARRIVE
                        continue
                    value = frame.result if plan.is_flow else frame.exec_res
                    if _walk_ended(position, setup, value, action, now):
                        return END
                    if frames[-1] is frame and frame.phase == ARRIVE:  # the next param set of the same walk
                        node, params, phase = frame.node, frame.params, ARRIVE
                        continue
                    break

                if phase == EXPAND:
                    need = _call_expansion(position, frame)
                    if need:
                        return need
                elif frame.work is not None:
                    frame.exec_res, frame.work = frame.work.results[0], None
                if _expand(position, setup, frame, frame.exec_res):
                    return END
                break
        except BaseException as exc:
            outcome = _recover(position, setup, exc)
            if outcome == _LOST:
                raise
            if outcome == END:
                return END


_PUSHED, _LOST, _KEPT = "pushed", "lost", "kept"


def _pause(position: Position) -> str:
    position.paused_at = clock()
    return BOUNDARY


def _leave_out_pause(frames: list[Frame], seconds: float) -> None:
    """Move the readings of visits under way, so that time spent at a boundary counts for no hook."""
    for frame in frames:
        frame.t_start += seconds
        frame.t_prepared += seconds
        frame.t_executed += seconds
        frame.set_started += seconds


def _await(position: Position, coroutine: Any, slot: str) -> str:
    position.awaiting = coroutine
    position.slot = slot
    return AWAIT


# ---- exec ------------------------------------------------------------------------------------------------------------


def _hand_over(position: Position, frame: Frame, coroutine: Any, error: Exception | None) -> str:
    """Let the driver go on with a call whose first attempt was begun here: it failed, or is to be awaited."""
    frame.work = Batch.single(frame.plan, frame.params, frame.prep_res)
    frame.work.begun = (frame.prep_res, coroutine, error, frame.t_prepared)
    frame.phase = WORKING
    return CALLS


def _call_expansion(position: Position, frame: Frame) -> str:
    """Call the exec of a batch flow for its element: on the spot, or by the driver. Empty: it is done already."""
    owner, element = frame.owner, frame.element
    began = clock()
    begun: tuple[Any, Any, BaseException | None, float] | None = None
    if owner.inline and position.inline:
        exec_ = getattr(frame.flow, owner.hooks.exec)
        try:
            frame.exec_res = exec_(position.shared, element) if owner.exec_takes_shared else exec_(element)
        except Exception as exc:
            begun = element, None, exc, began
        else:
            if frame.exec_res.__class__ is not CoroutineType:
                return ""
            begun = element, frame.exec_res, None, began
    frame.work = Batch.single(owner, frame.base_params, element)
    frame.work.begun = begun
    frame.phase = EXPANDED
    return CALLS


def _begin_exec(position: Position, setup: Setup, frame: Frame) -> str:
    """Begin an exec that is more than one call on the spot. Empty: it is done already."""
    __tracebackhide__ = True
    plan = frame.plan
    if plan.kind == "node":
        frame.work = Batch.single(plan, frame.params, frame.prep_res)
        return CALLS
    if plan.kind == "flow":
        position.frames.append(_enter(frame, plan))
        return _PUSHED
    what = f"{plan.path}.{plan.hooks.prep}"
    items = frame.prep_res
    if plan.kind == "batch_flow":
        sets = open_items(plan, frame.visit.params, items, f"{what} (a BatchFlow)", keep=True)
        sets.actions = []
        setup.recorder.batch_opened(sets)
        if sets.is_async or iter_is_self(items):
            frame.prep_res = sets.items  # as for a batch node, below
        inner = _enter(frame, plan)  # also where the sets run beside each other, to find out now that there is no start
        if sets.is_async or (plan.limit != 1 and setup.concurrent):
            frame.work = sets
            return SETS
        inner.sets = sets
        position.frames.append(inner)
        if not _next_set(setup, inner, clock()):
            _walks_ended(position, setup)
        return _PUSHED
    frame.work = open_items(plan, frame.params, items, f"{what} (a BatchNode)", keep=plan.keep)
    setup.recorder.batch_opened(frame.work)
    if frame.work.is_async or iter_is_self(items):
        # What was read once cannot be read again: post gets the list of what was read.
        frame.prep_res = DroppedItems(plan.path) if frame.work.items is None else frame.work.items
    return _go_on_with_items(position, setup, frame)


def _go_on_with_items(position: Position, setup: Setup, frame: Frame) -> str:
    """Go on with the calls of a visit. Empty: all are done, and ``exec_res`` is there."""
    work = frame.work
    assert work is not None
    if frame.plan.kind == "batch_flow":
        _check_all_failed(frame.plan, work, "param sets")
        frame.exec_res = frame.result = work.results
        return ""
    if not work.exhausted and not (work.is_single and work.taken):
        if work.is_async or not (frame.plan.inline and position.inline):
            return CALLS
        _make_calls(frame, work, position.shared)
        if work.begun is not None:
            return CALLS
    if work.is_single:
        frame.exec_res = work.results[0]
        frame.attempts = work.attempts
        if 0 in work.odd:
            frame.status = work.odd[0].status
        return ""
    _check_all_failed(frame.plan, work, "items")
    frame.exec_res = work.results
    frame.attempts = work.attempts
    return ""


def _make_calls(frame: Frame, work: Batch, shared: Any) -> None:
    """Call ``exec`` for the items, one after the other, until they end or one needs the driver.

    The loop that a batch of many cheap items spends its time in: three appends and two clock readings an item.
    """
    __tracebackhide__ = True
    exec_, takes_shared = getattr(frame.visit, frame.plan.hooks.exec), frame.plan.exec_takes_shared
    keep = work.items.append if work.items is not None else None
    add_result, add_seconds = work.results.append, work.seconds.append
    results = work.results
    try:
        for item in work.source:
            if keep is not None:
                keep(item)
            started = clock()
            try:
                result = exec_(shared, item) if takes_shared else exec_(item)
            except Exception as exc:
                work.begun = (item, None, exc, started)
                return
            except BaseException as exc:
                work.odd[len(results)] = Outcome("cancelled", 1, exc)
                add_result(PENDING)
                add_seconds(clock() - started)
                raise
            if result.__class__ is CoroutineType:
                work.begun = (item, result, None, started)
                return
            add_result(result)
            add_seconds(clock() - started)
        work.exhausted = True
    finally:
        work.taken = len(results)


# ---- flows -----------------------------------------------------------------------------------------------------------


def _enter(frame: Frame, plan: Plan) -> Frame:
    """Return the frame of a walk through the flow that is visited."""
    flow = frame.visit
    start = plan.require_start(flow)
    return Frame(plan, flow, Params(flow.params), start)


def branch(position: Position, setup: Setup, element: Any) -> Position:
    """Return the position of one param set of the batch flow that is visited, to run beside others."""
    frame = position.frames[-1]
    inner = _enter(frame, frame.plan)
    _begin_set(inner, element, clock())
    return Position(position.shared, [inner], inline=False)


def _begin_set(frame: Frame, element: Any, now: float) -> None:
    frame.element = element
    frame.set_open = True
    frame.set_started = now
    frame.steps = 0
    frame.node = frame.start
    if frame.owner.expands and not frame.implicit:
        frame.handed = None
        frame.params = frame.base_params
        frame.phase = EXPAND
    else:
        if element.__class__ is dict:  # as in _merge, but for its call and its slow test
            frame.params = Params({**frame.base_params, **element} if frame.base_params else element)
        else:
            frame.params = _merge(frame, element)
        frame.phase = ARRIVE


def _merge(frame: Frame, element: Any) -> Params:
    """Merge an element into the params of its walk.

    Raises:
        HookReturnError: It is no dict and there is no key for it, or its key is taken.
    """
    __tracebackhide__ = True
    if isinstance(element, Mapping):
        return Params({**frame.base_params, **element})
    owner = frame.owner
    key = owner.item_key
    if key is None:
        if not (owner.expands or frame.flow.items is not None):
            raise HookReturnError(
                f"{owner.path}.prep returned a param set that is {a_type(element)}; a BatchFlow needs dicts. "
                'Return [{"filename": value}, ...], or set item_key="filename" to have plain values put under that key.'
            )
        key = "item"
    if key in frame.base_params:
        raise HookReturnError(
            f"{owner.path}: params already hold {key!r}, so the {type(element).__name__} would replace it. Give this "
            f'BatchFlow a key of its own: item_key="..."'
        )
    return Params({**frame.base_params, key: element})


def _expand(position: Position, setup: Setup, frame: Frame, given: Any) -> bool:
    """Go on with an element as the ``exec`` of its batch flow said: None, params, or elements of an inner batch.

    True: the position has ended.
    """
    __tracebackhide__ = True
    frame.phase = ARRIVE
    if given is None or isinstance(given, Mapping):
        frame.params = Params({**_merge(frame, frame.element), **(given or {})})
        return False
    if isinstance(given, str | bytes | bytearray) or not hasattr(type(given), "__iter__"):
        raise HookReturnError(
            f"{frame.owner.path}.exec returned {a_type(given)}; the exec of a BatchFlow returns None, a dict "
            "of params, or an iterable of elements for the inner batch ([value] for one)."
        )
    elements = list(given) if iter_is_self(given) else given
    if kind_of(frame.start) == "batch_flow":
        frame.params = _merge(frame, frame.element)
        frame.handed = elements
        return False
    # The elements take the place of the one they were made of: only one of the two can be under item_key.
    if isinstance(frame.element, Mapping):
        frame.params = _merge(frame, frame.element)
    inner = Frame(frame.owner, frame.flow, frame.params, frame.start)
    inner.implicit = True
    inner.sets = open_items(frame.owner, frame.params, elements, f"{frame.owner.path}.exec", keep=True)
    inner.sets.actions = []
    setup.recorder.batch_opened(inner.sets)
    position.frames.append(inner)
    return not _next_set(setup, inner, clock()) and _walks_ended(position, setup)


def _next_set(setup: Setup, frame: Frame, now: float) -> bool:
    """Begin the next param set of this frame; False when there is none."""
    sets = frame.sets
    assert sets is not None
    for element in sets.source:
        sets.items.append(element)  # type: ignore[union-attr]
        sets.taken += 1
        if setup.subscribers:
            place = sets.taken - 1
            setup.tell(Event("param_set_started", frame.owner.path, frame.base_params, place, value=element))
        _begin_set(frame, element, now)
        return True
    sets.exhausted = True
    return False


def _settle_set(
    setup: Setup, frame: Frame, status: str, value: Any, action: Any, error: Any = None, failed_at: str | None = None
) -> None:
    sets = frame.sets
    assert sets is not None
    sets.results.append(value)
    sets.seconds.append(clock() - frame.set_started)
    sets.actions.append(action)  # type: ignore[union-attr]
    place = sets.taken - 1
    if status != "ok":
        sets.odd[place] = Outcome(status, 1, error, failed_at)
    frame.set_open = False
    if setup.subscribers:
        setup.tell(Event("param_set_finished", frame.owner.path, frame.base_params, place, 0, status, value, error))


def _walk_ended(position: Position, setup: Setup, value: Any, action: Any, now: float) -> bool:
    """Take up what a walk came to, one level further out. True: the position has ended.

    One clock reading ends the visit, ends its param set and begins the next.
    """
    frames = position.frames
    frame = frames[-1]
    sets = frame.sets
    if sets is not None:
        if setup.subscribers:
            _settle_set(setup, frame, "ok", value, action)
        else:  # the same without its call: a flow of cheap nodes over many params spends its time here
            sets.results.append(value)
            sets.seconds.append(now - frame.set_started)
            sets.actions.append(action)  # type: ignore[union-attr]
            frame.set_open = False
        return False if _next_set(setup, frame, now) else _walks_ended(position, setup)
    if len(frames) == 1:
        position.result, position.action = value, action
        return True
    frames.pop()
    below = frames[-1]
    below.exec_res, below.result, below.phase = action, value, EXECED
    return False


def _walks_ended(position: Position, setup: Setup) -> bool:
    """All param sets of the top frame are done: go on with the flow that they belong to. True: it all has ended."""
    __tracebackhide__ = True
    frames = position.frames
    frame = frames[-1]
    assert frame.sets is not None
    _check_all_failed(frame.owner, frame.sets, "param sets")  # before the frame is gone, for it may keep that too
    frames.pop()
    if frame.implicit:
        return _walk_ended(position, setup, frame.sets.results, None, clock())
    below = frames[-1]
    below.exec_res = below.result = frame.sets.results
    below.phase = EXECED
    return False


# ---- what goes wrong -------------------------------------------------------------------------------------------------


def _recover(position: Position, setup: Setup, error: BaseException) -> str:
    """Close the frames that an exception ends, down to a batch flow that keeps failures and goes on.

    Raises:
        Exception: Another one that came up on the way, such as `AllFailedError`.
    """
    __tracebackhide__ = True
    first = error
    while _unwind(position, setup, error):
        try:
            ended = not _next_set(setup, position.frames[-1], clock()) and _walks_ended(position, setup)
        except Exception as worse:
            error = worse
        else:
            return END if ended else _KEPT
    if error is not first:
        raise error
    return _LOST


def _unwind(position: Position, setup: Setup, error: BaseException) -> bool:
    """Close frames from the top. True: the top one is now a batch flow that keeps the failure of its param set."""
    frames = position.frames
    kept = isinstance(error, Exception)
    status = "failed" if kept else "cancelled"
    if position.failed_at is None:  # else it comes from a branch, which knows it better
        position.failed_at = frames[-1].plan.path if frames[-1].visit is not None else frames[-1].owner.path
    failed_at = position.failed_at
    note_where(setup, error, failed_at)
    while True:
        frame = frames[-1]
        if frame.visit is not None:
            _close_visit(setup, frame, status, error)
        if frame.sets is not None and frame.set_open:
            _settle_set(setup, frame, status, None, None, error, failed_at)
            if kept and frame.owner.on_error == "keep":
                position.failed_at = None
                return True
        if len(frames) == 1:
            return False
        frames.pop()


def cancel(position: Position, setup: Setup) -> None:
    """Close a position that is not gone on with: its open visits and param sets are recorded as cancelled."""
    if position.awaiting is not None:
        position.awaiting.close()
    if position.frames[-1].visit is not None or len(position.frames) > 1:
        _unwind(position, setup, CancelledError())


def _close_visit(setup: Setup, frame: Frame, status: str, error: BaseException) -> None:
    plan, now = frame.plan, clock()
    if frame.work is not None and not plan.is_flow:
        attempts = frame.work.attempts
    else:  # exec was not come to where prep did not end, or gave no items
        attempts = int(not (plan.kind == "batch_node" or (plan.has_prep and frame.t_prepared == frame.t_start)))
    prepared = frame.t_prepared if frame.t_prepared >= frame.t_start else now  # else a reading of an earlier visit
    executed = frame.t_executed if frame.t_executed >= prepared else now
    row = (plan, frame.visit.params, None, attempts, status, frame.t_start, prepared, executed, now)
    setup.recorder.visit_failed(row, error)
    if setup.subscribers:
        setup.tell(Event("visit_finished", plan.path, frame.visit.params, None, 0, status, error=error))
    frame.visit = None


def note_where(setup: Setup, error: BaseException, path: str, detail: str = "") -> None:
    """Say on the user's exception where it happened, once in a run."""
    if id(error) not in setup.noted and isinstance(error, Exception):
        setup.noted[id(error)] = error
        with suppress(Exception):  # not every exception lets itself be written on, and it must come out as it is
            error.add_note(f"in {path.replace('/', ' > ')}{detail}; what was finished is in .last_run")


def _check_all_failed(plan: Plan, batch: Batch, what: str) -> None:
    __tracebackhide__ = True
    if batch.odd and batch.all_failed:
        first = next(outcome.error for outcome in batch.odd.values())
        raise AllFailedError(
            f"{plan.path}: all {batch.taken} {what} failed, the first with {type(first).__name__}: {str(first)[:200]}"
        ) from first


def _check_action(plan: Plan, action: Any) -> None:
    __tracebackhide__ = True
    if isinstance(action, str) or (plan.any_action and getattr(type(action), "__hash__", None) is not None):
        return
    found = a_type(action)
    if isinstance(action, CoroutineType):
        action.close()
        found = f"a coroutine ({action.__qualname__}) that was never awaited"
    raise HookReturnError(
        f"{plan.path}.{plan.hooks.post} returned {found}; an action is a string or None. Put values in shared instead."
    )


def _lost_action(setup: Setup, frame: Frame, action: Any, known: list[str]) -> None:
    __tracebackhide__ = True
    setup.recorder.lost_action(frame.plan.path, action, known)
    text = f"Flow ends: '{_cut(action)}' not found in {known}{did_you_mean(action, known) if action else ''}"
    if frame.owner.strict:
        raise LostActionError(f"{text}; at {frame.plan.path}", action, known)
    warn(text)


def _cut(action: Any) -> str:
    text = str(action)
    return text if len(text) <= 80 else text[:79] + "…"


def _endless(frame: Frame) -> Exception:
    """Name the way round: the shortest cycle of edges through the node that is visited."""
    origin = frame.node
    way = {id(origin): [origin]}
    todo = [origin]
    for node in todo:
        for target in node.successors.values():
            if target is origin:
                cycle = " > ".join(label(n) for n in (*way[id(node)], origin))
                return MaxStepsError(
                    f"{frame.owner.path} made {frame.steps - 1} visits and is still going round {cycle}. If that is "
                    "meant, give the flow a larger max_steps (None for no limit)."
                )
            if id(target) not in way:
                way[id(target)] = [*way[id(node)], target]
                todo.append(target)
    return MaxStepsError(
        f"{frame.owner.path} made {frame.steps - 1} visits. If that is meant, give it a larger max_steps."
    )
