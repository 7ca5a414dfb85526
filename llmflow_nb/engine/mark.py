"""A place that a position has been at, to go on from once more.

Nothing is copied that only grows: of the columns of a batch, a mark keeps how long they were, so one mark for each
visit of a long run is affordable. What grew since is left as it is, for the marks that came later; who goes back gets
columns of his own.
"""

import copy
import itertools
from typing import Any

from .batch import Batch, split
from .items import is_iterator
from .position import EXEC, PREPPED, Frame, Position

__all__ = ["Mark"]


class Mark:
    """Where a position was, at a boundary.

    User values in it are the very objects, not copies. An async generator that a batch is read from cannot be gone back
    in: there all share what is left.

    Attributes:
        frames: The frames as they were then.
    """

    __slots__ = (
        "_action",
        "_batches",
        "_context",
        "_inline",
        "_outermost",
        "_paused_at",
        "_result",
        "_shared",
        "_visits",
        "frames",
    )

    def __init__(self, position: Position) -> None:
        """Remember where a position is."""
        self._shared, self._inline, self._paused_at = position.shared, position.inline, position.paused_at
        self._action, self._result = position.action, position.result
        self._context = None if position.context is None else position.context.copy()
        self._outermost = position.outermost
        self.frames = [_held(frame) for frame in position.frames]
        self._visits = [_attributes(frame) for frame in position.frames]
        self._batches = [[_mark(batch) for batch in (frame.work, frame.sets)] for frame in position.frames]

    def position(self) -> tuple[Position, dict[int, Batch]]:
        """Return a position that goes on from here by itself, and its batches by the ``id`` of those they stand for."""
        frames = [frame.same() for frame in self.frames]
        again: dict[int, Batch] = {}
        for held, frame, attributes, marks in zip(self.frames, frames, self._visits, self._batches, strict=True):
            if attributes is not None:
                frame.visit = _visit(held, attributes)
            if _reads_once(held):
                held.prep_res, frame.prep_res = split(held.prep_res)
            for mark, name in zip(marks, ("work", "sets"), strict=True):
                if mark is not None:
                    batch = again[id(mark.batch)] = mark.again()
                    setattr(frame, name, batch)
        for below, frame in itertools.pairwise(frames):
            # The copy whose hooks serve the walk is the one that its visit belongs to.
            frame.flow = below.flow if frame.implicit else below.visit
        for batch in again.values():
            if batch.within is not None:
                batch.within = again.get(id(batch.within[0]), batch.within[0]), batch.within[1]
            if batch.visit is not None:
                batch.visit = next((frame.visit for frame in frames if batch in (frame.work, frame.sets)), batch.visit)
        twin = Position(self._shared, frames, inline=self._inline)
        twin.paused_at, twin.action, twin.result = self._paused_at, self._action, self._result
        twin.context = None if self._context is None else self._context.copy()
        if self._outermost is not None:
            visit, before = self._outermost
            twin.outermost = visit if frames[0].visit is None else frames[0].visit, before
        return twin, again


def _held(frame: Frame) -> Frame:
    twin = frame.same()
    if _reads_once(frame):  # each is going to read all of it
        frame.prep_res, twin.prep_res = split(frame.prep_res)
    return twin


def _reads_once(frame: Frame) -> bool:
    """Whether what ``prep`` returned is still to be read, and can be read only once."""
    is_batch = frame.phase in (PREPPED, EXEC) and frame.plan.kind in ("batch_node", "batch_flow")
    return is_batch and is_iterator(frame.prep_res)


def _attributes(frame: Frame) -> Any:
    """What is on the copy that serves the visit; None where there is none."""
    if frame.visit is None:
        return None
    return frame.visit.__dict__.copy() if frame.plan.copies_plainly else copy.copy(frame.visit)


def _visit(frame: Frame, attributes: Any) -> Any:
    if not frame.plan.copies_plainly:
        return copy.copy(attributes)
    visit = object.__new__(type(frame.visit))
    visit.__dict__ = attributes.copy()
    return visit


class _BatchMark:
    """How far a batch had come. All that it does from then on is to append."""

    __slots__ = ("_is_single", "_lengths", "_source", "_state", "batch")

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self._lengths, self._state = batch.lengths(), batch.state()
        self._source = batch.split_source()

    def again(self) -> Batch:
        """Return a batch that goes on from there by itself."""
        if self._source is not None:
            self._source, source = split(self._source)
        else:
            source = None
        return self.batch.cut(self._lengths, self._state, source)


def _mark(batch: Batch | None) -> _BatchMark | None:
    return None if batch is None else _BatchMark(batch)
