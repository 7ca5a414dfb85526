"""The exec of a visit, where it is more than one direct call: items, param sets, calls that the driver has to make.

`start_exec` and `continue_exec` return what `advance` has to return for it; "" if the exec has ended, and its result is
in the frame; or `PUSHED` if there is a new frame on top.
"""

from asyncio import CancelledError
from time import perf_counter as clock
from types import CoroutineType
from typing import Any

from .awaitables import PLAIN, is_awaitable
from .batch import PENDING, Batch, Outcome, open_batch
from .checkpoint import keep_place
from .events import ReplayedAttempts
from .position import AFTER_ITEM, CALLS, EXECED, SETS, WORKING, Frame, Position, set_by_hooks
from .setup import Setup
from .walks import enter, next_set, take_sets

__all__ = ["PUSHED", "continue_exec", "hand_over", "item_done", "start_exec", "take_results"]

PUSHED = "pushed"


def item_done(frame: Frame) -> bool:
    """Whether an item of a batch node has been called since `advance` last stopped after one."""
    work = frame.work
    if work is None or work.is_single or frame.plan.facts.is_flow or work.items.read <= work.items.reported:
        return False
    work.items.reported = work.items.read
    return True


def hand_over(position: Position, frame: Frame, awaitable: Any, error: BaseException | None) -> str:
    """Let the driver continue a call whose first attempt started here, and failed or has to be awaited."""
    if error is None and position.awaits_exec:
        frame.phase = EXECED
        return position.wait_for(awaitable, "exec_res")
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
        return hand_over(position, frame, None, exc)
    if type(result) is CoroutineType or is_awaitable(result):
        return hand_over(position, frame, result, None)
    frame.exec_res = result
    return ""


def start_exec(position: Position, setup: Setup, frame: Frame, mask: int) -> str:
    """Start an exec that is more than one direct call. Return "" if it has already ended."""
    __tracebackhide__ = True
    plan = frame.plan
    facts = plan.facts
    if facts.kind == "flow":
        if len(position.frames) > 1:  # nothing is too old at the start of a run
            setup.recorder.drop_old()
        position.frames.append(enter(frame.visit, plan))
        return PUSHED
    if facts.layer is not None:  # a stepper may have gone back to here
        driven = plan.driven_by(frame.visit, position.shared)
        driven.attempts, driven.status = 0, "ok"
    if facts.kind == "node":
        if facts.awaited and position.awaits_exec:
            return _call_async(position, frame)
        frame.work = Batch.single(plan, frame.params, frame.prep_res)
        return continue_exec(position, setup, frame, mask)
    what = f"{plan.path}.{facts.hooks.prep}"
    items = frame.prep_res
    if facts.kind == "batch_flow":
        sets = open_batch(plan, frame.visit.params, items, f"{what} (a BatchFlow)", keep=True)
        sets.outcomes.actions = []
        _record(position, setup, frame, sets)
        if sets.items.is_async or (plan.settings.limit != 1 and setup.concurrent):
            plan.require_start(frame.visit)  # now, and not once for each set
            frame.work = sets
            return SETS
        inner = enter(frame.visit, plan)
        inner.walk.sets = sets
        position.frames.append(inner)
        next_set(position, setup, clock())
        return PUSHED
    frame.work = open_batch(plan, frame.params, items, f"{what} (a BatchNode)", keep=plan.settings.keep_items)
    _record(position, setup, frame, frame.work)
    return continue_exec(position, setup, frame, mask)


def _record(position: Position, setup: Setup, frame: Frame, batch: Batch) -> None:
    """Note which visit a batch belongs to, and add it to the record."""
    batch.visit, batch.hook_attributes = frame.visit, set_by_hooks(frame)
    batch.parent_set = position.param_set()
    setup.recorder.add_batch(batch)


def continue_exec(position: Position, setup: Setup, frame: Frame, mask: int) -> str:
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
        _make_calls(frame, work, position.shared)
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
        frame.spent += work.take_unread_usage()
        work.require_results("items")
        frame.exec_res = work.outcomes.results[:]  # a copy for the user: the column is part of the record
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
    if work.outcomes.is_replayed:
        frame.attempts = ReplayedAttempts(frame.attempts)


def _make_calls(frame: Frame, work: Batch, shared: Any) -> None:
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
            ended = clock()
            add_seconds(ended - started)
            started = ended
        items.exhausted = True
    except BaseException:
        items.read_failed = not in_exec  # the input failed, or an interrupt lost an item between the input and here
        raise
    finally:
        items.read = len(results)
