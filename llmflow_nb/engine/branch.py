"""One walk of a run, as the scheduler sees it."""

from dataclasses import dataclass, field
from time import perf_counter as clock

from .batch import Batch
from .position import Position

__all__ = ["Branch"]


@dataclass(slots=True, eq=False)
class Branch:
    """A position that is being run, and the calls or param sets that it waits for."""

    position: Position
    parent: "Branch | None" = None  # the branch whose param set this is; None for the outermost one
    index: int = 0  # of that param set
    batch: Batch = None  # type: ignore[assignment]  # the items it waits for
    need: str = ""  # `CALLS` or `SETS`
    running: int = 0  # how many of its items are in progress
    error: BaseException | None = None  # the first failure among them
    draining: bool = False  # nothing more of it is started
    is_reading: bool = False  # the next item of its async source is awaited, or waits to be
    started: float = field(default_factory=clock)

    def is_halted(self) -> bool:
        """Return whether nothing may be started for it: it is draining, or a branch around it is."""
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
