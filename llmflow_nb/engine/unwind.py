"""What an exception does to a position: it closes frames, down to a batch flow that keeps failures."""

from asyncio import CancelledError
from contextlib import suppress
from time import perf_counter as clock
from types import AsyncGeneratorType

from ..core.errors import BudgetError, HookCancelledError
from ..core.kept_errors import drop_callers
from ..core.text import message, params_text, shown
from ..core.usage import Usage
from .batch import Batch, positions_of
from .checkpoint import Checkpoint
from .events import Event
from .outcomes import UnansweredError
from .position import END, EXPAND, EXPANDED, POST, PREPPED, Frame, Position
from .setup import Setup
from .walks import next_set, settle_set

__all__ = [
    "FINISHED",
    "LOST",
    "cancel",
    "claim_expansion_usage",
    "claim_usage",
    "keep_checkpoint",
    "note_where",
    "recover",
]

LOST, KEPT = "lost", "kept"
FINISHED = "completed results are in .last_run"

MAX_CHECKPOINTS = 1000
"""Param sets of one batch flow that can be resumed where they failed. Others start from the first node."""


def recover(position: Position, setup: Setup, error: BaseException) -> str:
    """Close the frames that an exception ends.

    Returns:
        `LOST`: no batch flow keeps the exception; raise it. `KEPT`: the next param set has started. `END`: it was the
        last one, and the position has ended.

    Raises:
        Exception: One that replaces it, such as `AllFailedError`.
    """
    __tracebackhide__ = True
    first = error
    if isinstance(error, CancelledError):  # raised by a hook: the drivers never send theirs this way
        error = HookCancelledError.of(position.path, _hook(position), error)
    while _unwind(position, setup, error):
        try:
            ended = next_set(position, setup, clock())
        except Exception as worse:
            error = worse
        else:
            return END if ended else KEPT
    if error is not first:
        raise error
    return LOST


def _hook(position: Position) -> str:
    """Return the name of the hook that is being called."""
    phase = position.frames[-1].phase
    return "prep" if phase <= PREPPED else "post" if phase >= POST else "exec"


def _unwind(position: Position, setup: Setup, error: BaseException) -> bool:
    """Close frames from the top. True: the top one is now a batch flow that keeps the failure of its param set."""
    frames = position.frames
    is_failure, is_unanswered = isinstance(error, Exception), isinstance(error, UnansweredError)
    may_be_kept = is_failure and not isinstance(error, BudgetError)
    status = "failed" if is_failure else "cancelled"
    if position.failed_at is None:  # otherwise the error comes from a param set side by side, and was located there
        top = frames[-1]
        position.failed_at = top.plan.path if top.visit is not None or top.walk is None else top.walk.owner.path
    failed_at = position.failed_at
    top = frames[-1]
    if id(error) not in setup.noted:
        note_where(setup, error, failed_at, params_text(top.params if top.visit is None else top.visit.params))
    checkpoint = position.failure = Checkpoint(position, is_failure=True)
    while True:
        frame = frames[-1]
        sets = frame.sets
        keeps = sets is not None and (is_unanswered or (may_be_kept and sets.plan.settings.on_error == "keep"))
        for batch in (frame.work, sets):
            if batch is not None and not (batch is sets and keeps):
                batch.close()
                if isinstance(batch.items.source, AsyncGeneratorType) and not batch.items.exhausted:
                    setup.open_sources.append(batch)  # the driver closes it, because that has to be awaited
        if frame.visit is not None:
            _close_visit(position, setup, frame, status, error)
        elif frame.phase in (EXPAND, EXPANDED):
            claim_expansion_usage(position, setup, frame.work)
        if sets is not None and frame.walk.set_open:
            if len(sets.checkpoints) < MAX_CHECKPOINTS:
                sets.checkpoints[sets.items.read - 1] = checkpoint.of_param_set(len(frames) - 1)
            settle_set(setup, frame.walk, status, None, None, error, failed_at)
            if keeps:
                position.failed_at = frame.work = None
                drop_callers(error)
                return True
        if len(frames) == 1:
            return False
        frames.pop()


def keep_checkpoint(sets: Batch, index: int, position: Position) -> None:
    """Move the checkpoint of a param set that ran side by side from its position to the param sets.

    The position must not keep it: its exception, which is kept, refers to the position, and so to all of ``shared``.
    """
    if position.failure is not None and len(sets.checkpoints) < MAX_CHECKPOINTS:
        sets.checkpoints[index] = position.failure
    position.failure = None


def cancel(position: Position, setup: Setup) -> None:
    """Close a position that does not continue: its open visits and param sets are recorded as cancelled."""
    frames = position.frames
    if frames and (frames[-1].visit is not None or len(frames) > 1 or frames[-1].phase in (EXPAND, EXPANDED)):
        _unwind(position, setup, CancelledError())


def claim_usage(position: Position, setup: Setup, frame: Frame) -> None:
    """Give the visit that was added last what its hooks and its single call have used."""
    _claim(position, setup, frame.work, frame.spent, of_visit=True)
    frame.spent = ()


def claim_expansion_usage(position: Position, setup: Setup, work: Batch | None) -> None:
    """Give a param set what the call of its flow's exec has used for it. ``work``: that call, if the driver made it."""
    _claim(position, setup, work, (), of_visit=False)


def _claim(position: Position, setup: Setup, work: Batch | None, spent: tuple[Usage, ...], *, of_visit: bool) -> None:
    used, may_grow = [*spent], False
    if work is not None and work.is_single:
        used += work.usage.all()
        work.usage.in_record = used
        may_grow = bool(work.outcomes.exceptional)  # an attempt that was not waited for may still report
    if used or may_grow:
        setup.recorder.add_usage(used, position.param_set(), of_visit=of_visit)


def _close_visit(position: Position, setup: Setup, frame: Frame, status: str, error: BaseException) -> None:
    plan, now = frame.plan, clock()
    if plan.facts.layer is not None:
        attempts = plan.driven_by(frame.visit).attempts or 1
    elif frame.work is not None and not plan.facts.is_flow:
        attempts = frame.work.attempts_of_visit
    else:  # none was made if prep did not end (its two readings are equal then), or if its result was no batch
        is_resumed = frame.resumed_at is not None and frame.resumed_at[0] is frame.visit
        in_prep = plan.facts.has_prep and frame.t_prepared == frame.t_start and not is_resumed
        attempts = int(not (plan.facts.kind == "batch_node" or in_prep))
    frame.visit.__dict__.pop("cur_retry", None)
    prepared = frame.t_prepared if frame.t_prepared >= frame.t_start else now  # else a reading of an earlier visit
    executed = frame.t_executed if frame.t_executed >= prepared else now
    row = (plan, frame.visit.params, None, attempts, status, frame.t_start, prepared, executed, now)
    setup.recorder.add_failed_visit(row, error)
    if frame.work is not None:
        frame.spent += frame.work.take_unread_usage()
    used = frame.spent
    claim_usage(position, setup, frame)
    if setup.subscribers:
        around = positions_of(position.param_set())
        event = Event("visit_finished", plan.path, frame.visit.params, None, 0, status, error=error)
        setup.notify(event._replace(usage=used, param_sets=around))
    frame.visit = None


def note_where(setup: Setup, error: BaseException, path: str, detail: str = "") -> None:
    """Add a note to the user's exception that says where it happened, once in a run."""
    if id(error) not in setup.noted and isinstance(error, Exception):
        setup.noted[id(error)] = error
        with suppress(Exception):  # some exceptions refuse attributes, and must be raised as they are
            error.add_note(message(f"in {shown(path, 320).replace('/', ' > ')}{detail}; {FINISHED}"))
