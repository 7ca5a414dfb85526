"""A saved position, which can be restored.

A checkpoint is taken in two situations, and there is one way to restore it:

* At a boundary. The stepper takes one at each of its places, and restores it with ``copies=True``: the position gets
  visits and columns of its own, as they were, so that other checkpoints stay valid.
* At a failure or a stop, before the frames are closed. `resume` restores it: the visits and columns are continued,
  since they are the record of the run. Rows that ended with the failure are reopened, and the visit on top is rewound
  to the hook that did not end. An ``exec`` that returned is not called again.

Both rebuild the plans, because classes and settings may have changed since.
"""

import copy
import itertools
from collections.abc import Iterator
from time import perf_counter as clock
from typing import Any

from ..core.statuses import FAILURES
from .batch import Batch, SavedBatch
from .items import split
from .iteration import is_iterator
from .plan import Plan
from .position import (
    ARRIVE,
    ARRIVED,
    EXEC,
    EXPAND,
    EXPANDED,
    POST,
    PREPPED,
    WORKING,
    Frame,
    Position,
    set_by_hooks,
)
from .setup import Setup

__all__ = ["Checkpoint", "batches_of", "clone_again", "keep_place", "rebuild_plans"]


class Checkpoint:
    """Where a position was.

    Values of the user are referred to, not copied. Columns only grow, so their lengths are enough to cut them again,
    and one checkpoint for each visit of a long run is affordable. An async generator cannot be read twice: positions
    that are restored from several checkpoints share what is left of it.
    """

    __slots__ = (
        "action",  # the last action, at the end of a run
        "context",  # the context that the hooks run in; None: that of the driver
        "failed_at",  # the path of the node that failed
        "failure",  # an object for each failure, which the checkpoints of the param sets around it share
        "frames",  # copies of the frames, which refer to the same visits and batches
        "hook_attributes",  # at a failure: what the hooks of the top visit had set on the copy of the node
        "inline",  # whether calls are made on the spot
        "is_failure",  # whether it was taken at a failure or a stop
        "open_rows",  # at a failure, by frame: the index of the param set in progress; None for a plain flow
        "outermost",  # see `Position`
        "paused_at",  # clock at the boundary
        "result",  # the result of the last node, at the end of a run
        "saved_batches",  # at a boundary, by frame: the state of ``work`` and of ``sets``
        "saved_visits",  # at a boundary, by frame: the attributes of the visit; None where there is none
        "shared",  # the object that the hooks read and write
        "shared_values",  # at a failure: what ``shared`` held, by key; None if it is no dict
    )

    def __init__(self, position: Position, *, is_failure: bool = False) -> None:
        """Take a checkpoint of a position.

        Args:
            position: Where it is. At a failure its frames must not be closed yet.
            is_failure: Whether the hook or call on top failed or was stopped; otherwise this is a boundary.
        """
        self.shared, self.inline, self.outermost = position.shared, position.inline, position.outermost
        self.paused_at, self.action, self.result = position.paused_at, position.action, position.result
        self.failed_at = position.failed_at
        self.is_failure = is_failure
        self.failure = object()
        self.frames = [frame.copy() for frame in position.frames]
        self.shared_values: dict[Any, Any] | None = None
        self.hook_attributes: dict[str, Any] = {}
        self.open_rows: list[int | None] = []
        self.saved_visits: list[Any] = []
        self.saved_batches: list[list[SavedBatch | None]] = []
        if is_failure:
            top = position.frames[-1]
            self.context = position.context
            self.shared_values = dict(position.shared) if isinstance(position.shared, dict) else None
            self.hook_attributes = set_by_hooks(top) if top.visit is not None else {}
            for frame in self.frames:  # the row of the visit that ends now has it
                frame.spent = ()
            self.open_rows = [None if frame.sets is None else frame.sets.items.read - 1 for frame in self.frames]
        else:
            self.context = None if position.context is None else position.context.copy()
            for frame, twin in zip(position.frames, self.frames, strict=True):
                if _is_read_once(frame):  # the position and whatever is restored from here each read all of it
                    frame.prep_res, twin.prep_res = split(frame.prep_res)
            self._save(position.frames)

    def of_param_set(self, depth: int) -> "Checkpoint":
        """Return the part of a failure that belongs to one param set: the frames from its walk on."""
        inner = object.__new__(Checkpoint)
        for name in Checkpoint.__slots__:  # copy.copy takes five times as long
            setattr(inner, name, getattr(self, name))
        first = self.frames[depth].copy()
        first.walk.sets = None  # the resumed param set settles its row
        inner.frames = [first, *self.frames[depth + 1 :]]
        inner.open_rows = [None, *self.open_rows[depth + 1 :]]
        inner.outermost = None
        return inner

    def restore(self, setup: Setup, shared: Any, *, copies: bool = False) -> Position | None:
        """Return a position that stands here, with the classes and settings that the nodes have now.

        Args:
            setup: The run that the position will be a part of.
            shared: What the hooks will read and write.
            copies: Whether the position gets visits and columns of its own. Otherwise it continues those that it had.

        Returns:
            The position; None if a failure cannot be resumed, because the rest of an input cannot be read.

        Raises:
            TypeError: The new class of a node has another layout than the object that serves a visit.
        """
        frames = [frame.copy() for frame in self.frames]
        if copies:
            self._copy_state(frames)
        if self.is_failure and not self._is_resumable(frames):
            return None
        rebuild_plans(frames, setup)
        for below, frame in itertools.pairwise(frames):
            # The copy whose hooks serve the walk is the one that its visit belongs to.
            frame.walk.flow = below.walk.flow if frame.walk.implicit else below.visit
        position = Position(shared, frames, inline=self.inline)
        position.paused_at, position.action, position.result = self.paused_at, self.action, self.result
        # Not the same context: the task of the closed lane takes its last step in it, in the thread of its loop.
        position.context = None if self.context is None else self.context.copy()
        if self.outermost is not None:
            visit, before = self.outermost
            position.outermost = visit if frames[0].visit is None else frames[0].visit, before
        if self.is_failure:
            _reopen(position, self.hook_attributes, setup)
        return position

    def _is_resumable(self, frames: list[Frame]) -> bool:
        """Return whether frames can be resumed; close the walks in which no visit is in progress any more.

        That is a walk whose param sets have all failed, or in which a retry has called the one in progress, or further
        ones. The visit around it (or, of elements that an ``exec`` returned, the param set around them) then retries
        those that have no result, and reads the rest.
        """
        depth = next((n for n, frame in enumerate(frames) if self._is_retried(frame.sets, self.open_rows[n])), None)
        if depth is None and frames[-1].visit is None and not _is_expanding(frames[-1]):
            depth = len(frames) - 1
        if depth is not None:
            walk = frames[depth].walk
            if depth == 0 or walk.sets is None:
                return False
            del frames[depth:]
            frames[-1].work = walk.sets
            if walk.implicit:
                frames[-1].phase, frames[-1].walk.set_open = EXPANDED, True
        return all(frame.sets.items.can_resume for frame in frames if frame.sets is not None)

    def _is_retried(self, sets: Batch | None, row: int | None) -> bool:
        """Return whether a retry has called the param set that was in progress at the failure, or one after it."""
        if sets is None or row is None:
            return False
        latest = sets.checkpoints.get(row, self)
        return sets.items.read - 1 != row or sets.outcomes.has_result(row) or latest.failure is not self.failure

    def batches(self) -> Iterator[Batch]:
        """Return the batches of the frames, in the same order as `batches_of` those of a restored boundary."""
        return batches_of(self.frames)

    def _save(self, frames: list[Frame]) -> None:
        self.saved_visits = [_attributes(frame) for frame in frames]
        self.saved_batches = [
            [None if batch is None else batch.save() for batch in (frame.work, frame.sets)] for frame in frames
        ]

    def _copy_state(self, frames: list[Frame]) -> None:
        """Give frames visits and batches of their own, as they were; after a failure, as they are now."""
        saved = self
        if self.is_failure:
            saved = copy.copy(self)
            saved._save(self.frames)
        twins: dict[int, Batch] = {}
        for kept, frame, attributes, batches in zip(
            self.frames, frames, saved.saved_visits, saved.saved_batches, strict=True
        ):
            if attributes is not None:
                frame.visit = _visit(kept, attributes)
            if _is_read_once(kept):
                kept.prep_res, frame.prep_res = split(kept.prep_res)
            for batch, holder, name in zip(batches, (frame, frame.walk), ("work", "sets"), strict=True):
                if batch is not None:
                    twin = twins[id(batch.batch)] = batch.batch.restored(batch)
                    setattr(holder, name, twin)
        for twin in twins.values():
            if twin.parent_set is not None:
                twin.parent_set = twins.get(id(twin.parent_set[0]), twin.parent_set[0]), twin.parent_set[1]
            if twin.visit is not None:
                twin.visit = next((frame.visit for frame in frames if twin in (frame.work, frame.sets)), twin.visit)


def keep_place(position: Position, work: Batch) -> None:
    """Save the place of a visit whose calls have ended, some of them with kept failures.

    From there, ``post`` and what follows can be run again with the results of retried rows. Not inside a param set,
    which a retry of its own row runs again.
    """
    failed = any(outcome.status in FAILURES for outcome in work.outcomes.exceptional.values())
    if failed and position.param_set() is None:
        work.kept_at = Checkpoint(position, is_failure=True)
        work.kept_at.frames[-1].work = work
        work.kept_at.shared_values = None


def batches_of(frames: list[Frame]) -> Iterator[Batch]:
    """Iterate over the batches that frames are at work on, the outermost first."""
    for frame in frames:
        for batch in (frame.work, frame.sets):
            if batch is not None:
                yield batch


def rebuild_plans(frames: list[Frame], setup: Setup) -> None:
    """Give frames plans with the classes and settings that their nodes have now.

    Raises:
        TypeError: The new class of a node has another layout than the object that serves a visit.
    """
    setup.checked.clear()
    below: Frame | None = None
    for frame in frames:
        walk = frame.walk
        if walk is None:  # the bottom of a run
            frame.plan = _plan_again(frame.plan, setup)
        else:
            if below is None:  # the walk of a param set
                walk.owner = _plan_again(walk.owner, setup)
            else:
                walk.owner = below.walk.owner if walk.implicit else below.plan
            walk.has_router = walk.owner.facts.has_router
            frame.plan = walk.owner.child(frame.node, walk.start, setup)
            if walk.sets is not None:
                walk.sets.plan = walk.owner
        if frame.work is not None:
            frame.work.plan = walk.owner if frame.phase == EXPANDED else frame.plan
        if frame.visit is not None and type(frame.visit) is not frame.plan.facts.cls:
            frame.visit.__class__ = frame.plan.facts.cls
        below = frame


def _plan_again(plan: Plan, setup: Setup) -> Plan:
    return Plan(plan.node, plan.name, plan.path, setup, plan.within)


def clone_again(plan: Plan, previous: Any, params: Any, hook_attributes: dict[str, Any] | None = None) -> Any:
    """Return a copy of a node for a visit that has started before.

    Args:
        plan: The node as it is now.
        previous: The copy that served the visit. Its attributes that the node has not are taken over.
        params: What the visit sees as its params.
        hook_attributes: What hooks of the visit had set; these win over what the node has.
    """
    visit = plan.clone(params)
    for name, value in (vars(previous) if previous is not None else {}).items():
        visit.__dict__.setdefault(name, value)
    visit.__dict__.update(hook_attributes or {})
    return visit


# ---- copying a boundary ----------------------------------------------------------------------------------------------


def _is_read_once(frame: Frame) -> bool:
    """Return whether the result of ``prep`` has yet to be read, and can be read only once."""
    is_batch = frame.phase in (PREPPED, EXEC) and frame.plan.facts.kind in ("batch_node", "batch_flow")
    return is_batch and is_iterator(frame.prep_res)


def _attributes(frame: Frame) -> Any:
    """Return the attributes of the copy that serves a visit; None if there is none."""
    if frame.visit is None:
        return None
    return frame.visit.__dict__.copy() if frame.plan.facts.copies_plainly else copy.copy(frame.visit)


def _visit(frame: Frame, attributes: Any) -> Any:
    if not frame.plan.facts.copies_plainly:
        return copy.copy(attributes)
    visit = object.__new__(type(frame.visit))
    visit.__dict__ = attributes.copy()
    return visit


# ---- reopening a failure ---------------------------------------------------------------------------------------------


def _is_expanding(frame: Frame) -> bool:
    """Return whether a walk stands at the ``exec`` of its batch flow, or at the elements that this returned."""
    return frame.phase in (EXPAND, EXPANDED) and frame.walk.set_open


def _reopen(position: Position, hook_attributes: dict[str, Any], setup: Setup) -> None:
    """Make a position that failed ready to be advanced: param sets are in progress again, the top visit is rewound."""
    frames = position.frames
    now = position.paused_at = clock()  # the clocks of the frames start when it is advanced
    for frame in frames:
        walk = frame.walk
        if walk is None:
            continue
        walk.set_started = now
        walk.max_steps = walk.owner.settings.max_steps  # the setting may have changed
        walk.check_at = min(walk.steps, walk.max_steps)
        if walk.sets is not None:
            walk.set_started = now - walk.sets.outcomes.reopen(walk.sets.items.read - 1)
            walk.sets.items.resume(walk.sets.path)
            walk.set_open = True
    top = frames[-1]
    before = top.work
    _rewind_visit(top)
    for frame in frames:  # the time before the failure has a row of its own
        frame.t_start = frame.t_prepared = frame.t_executed = now
    if top.visit is not None and top.phase != ARRIVE:
        top.visit.__dict__.update(hook_attributes)
    if before is not None and not before.is_single and top.work is not before:
        setup.recorder.discard_batches([before])


def _rewind_visit(frame: Frame) -> None:
    """Set a visit back to the hook that did not end."""
    plan, work = frame.plan, frame.work
    if frame.visit is None:
        _rewind_expansion(frame)
        return
    reached = _phase_reached(frame)
    if reached == POST:  # exec has returned, and no call is made again
        frame.phase = POST
        if plan.facts.kind in ("node", "batch_node"):  # the row of a flow has no attempts, and would not set them back
            frame.attempts = 0
        if plan.facts.kind == "node" and work is None:
            frame.work = Batch.single(plan, frame.params, frame.prep_res)
        elif work is not None:
            work.start_row()
        if plan.facts.kind == "batch_node":  # rows may have been retried: `advance` takes their results again
            frame.phase = WORKING
    elif work is not None and work.is_single and work.without_result():
        frame.phase, frame.work = EXEC, None
    elif work is None and plan.facts.kind == "node" and (reached >= EXEC or not plan.facts.has_prep):
        frame.phase = EXEC  # it was called on the spot, and interrupted
    elif work is not None and work.items.can_resume:
        frame.phase = WORKING
        work.resume()
    elif frame.walk is None:  # a run starts with a visit
        frame.phase, frame.work = ARRIVED, None
    else:
        frame.phase, frame.work = ARRIVE, None
        frame.walk.steps -= 1
        return
    frame.visit = clone_again(plan, frame.visit, frame.params)
    frame.resumed_at = (frame.visit, frame.phase)


def _rewind_expansion(frame: Frame) -> None:
    """Set a walk back to the ``exec`` of its batch flow, unless that returned; its elements are resumed."""
    work = frame.work
    if work is None or (work.is_single and work.without_result()):
        frame.phase, frame.work = EXPAND, None
    elif work.is_single:
        work.start_row()
    else:
        work.resume()


def _phase_reached(frame: Frame) -> int:
    """Return the phase that a visit had reached, by its clocks. Those of a resumed visit count from where it was."""
    if frame.t_executed >= frame.t_prepared >= frame.t_start and frame.t_executed > frame.t_start:
        return POST
    if frame.t_prepared > frame.t_start:
        return EXEC
    is_resumed = frame.resumed_at is not None and frame.resumed_at[0] is frame.visit
    return frame.resumed_at[1] if is_resumed and frame.resumed_at is not None else ARRIVED
