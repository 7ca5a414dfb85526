"""A branch: what the scheduler moves, and where its work comes from.

There are two sources of work:

* A walk makes the calls, or walks the param sets, of the visit that its position has come to. The scheduler reads the
  items of that visit as their calls can start.
* A retry goes over the queued rows of several visits, under one limit for all of them. It reads no items, and a failure
  is only entered in its row. It is within no flow, so its position has no frames.
"""

from collections import deque
from dataclasses import dataclass, field
from time import perf_counter as clock
from typing import Any, NamedTuple

from .batch import Batch
from .plan import Plan
from .position import EXPANDED, Frame, Position

__all__ = ["Branch", "Workload"]


class Workload(NamedTuple):
    """The items of a visit, and how each is called, or walked as a param set."""

    batch: Batch
    plan: Plan  # of the node that is called, or of the flow that is walked
    target: Any  # the copy of it that serves the visit
    limit: int | None  # calls or walks in progress at once; None: no bound

    @classmethod
    def of(cls, frame: Frame) -> "Workload":
        """Return the work that the visit in a frame has come to."""
        batch = frame.work
        assert batch is not None
        if frame.phase == EXPANDED:  # the exec of the flow around the visit is called, or its elements are walked
            return cls(batch, frame.walk.owner, frame.walk.flow, 1)
        return cls(batch, frame.plan, frame.visit, 1 if batch.is_single else frame.plan.settings.limit)


@dataclass(slots=True, eq=False)
class Branch:
    """A walk or a retry, and the calls or param sets that it waits for."""

    position: Position
    parent: "Branch | None" = None  # the branch whose param set this is; None for the outermost one
    work: Workload = None  # type: ignore[assignment]  # of a walk
    to_retry: deque[Workload] | None = None  # of a retry: the visits that may still have queued rows
    need: str = ""  # `CALLS` or `SETS`
    running: int = 0  # how many of its items are in progress
    keeps_failures: bool = False  # whether a failure among them is only entered in its row
    error: BaseException | None = None  # the first failure among them, unless these are kept
    draining: bool = False  # nothing more of it is started
    is_reading: bool = False  # the next item of its async source is awaited, or waits to be
    started: float = field(default_factory=clock)

    def is_halted(self) -> bool:
        """Return whether nothing may be started for this branch: it is draining, or a branch around it is."""
        branch: Branch | None = self
        while branch is not None:
            if branch.draining:
                return True
            branch = branch.parent
        return False

    def is_within(self, outer: "Branch") -> bool:
        """Return whether it is the other branch, or part of it."""
        branch: Branch | None = self
        while branch is not None and branch is not outer:
            branch = branch.parent
        return branch is outer
