"""Where a stepper is, in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.text import error_text, message, params_text, plain_text, quoted, shown
from ..engine.batch import Batch
from ..engine.position import EXEC, LEAVE, POST, PREP, WORKING, Position

__all__ = ["PHASES", "Place", "item_that_failed", "place_of"]

PHASES = {PREP: "before prep", EXEC: "after prep", WORKING: "after exec", POST: "after exec", LEAVE: "after post"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a stepper is. As the last line of a cell, one line.

    Attributes:
        path: The node, from the outermost flow down, joined by "/".
        visit: Which pass of the node it is on this walk through its flow, from 1.
        phase: "before prep", "after prep", "after exec", "after post" or "at the end".
        params: What the node sees as its params.
        item: Of a batch node between two items: how many are done; None elsewhere.
        items: How many there are in all, as far as that is known.
        param_set: Which param set of the batch flow around it is walked, from 1; None outside of any.
        param_sets: How many there are, as far as that is known.
        depth: How many flows it is within.
        action: After post, and at the end: the action.
        error: What the next step raised when it was tried; None if it was not, or went well.
        failed_item: The item whose call raised that error, from 1; None if it was no call for an item.
        called: Calls of ``exec`` that were made so far; replayed: that were answered by the result of an earlier one.
        note: What else there is to say.
    """

    path: str
    visit: int
    phase: str
    params: Mapping[str, Any]
    item: int | None = None
    items: int | None = None
    param_set: int | None = None
    param_sets: int | None = None
    depth: int = 0
    action: Any = None
    error: BaseException | None = None
    failed_item: int | None = None
    called: int = 0
    replayed: int = 0
    note: str = ""

    @property
    def is_end(self) -> bool:
        """Whether the run has ended."""
        return self.phase == "at the end"

    @property
    def failed(self) -> str:
        """What failed: "failed", or "failed at item 8" of a batch; "" if nothing did."""
        if self.error is None:
            return ""
        return "failed" if self.failed_item is None else f"failed at item {self.failed_item}"

    def __str__(self) -> str:
        """Return it all in a line."""
        which = [f"visit {self.visit}"]
        if self.param_set is not None:
            which.append(f"param set {self.param_set}{_of(self.param_sets)}")
        which[-1] += params_text(self.params)
        if self.item is not None:
            which.append(f"item {self.item}{_of(self.items)}")
        phase = self.phase
        if self.phase in ("after post", "at the end"):
            phase += f", action {quoted(self.action)}"
        parts = [shown(self.path, 320), ", ".join(which), phase, f"called {self.called}, replayed {self.replayed}"]
        if self.error is not None:
            parts.append(f"{self.failed}: {error_text(self.error, 80)}")
        if self.note:
            parts.append(self.note)
        return message("  ".join(parts))

    __repr__ = __str__


def _of(total: int | None) -> str:
    return "" if total is None else f" of {total}"


def place_of(position: Position, *, is_end: bool) -> Place:
    """Return where a position is. The visit number and the counters are for the stepper to fill in."""
    frame = position.frames[-1]
    if is_end:
        return Place(frame.plan.path, 1, "at the end", frame.params, action=plain_text(position.action))
    sets = position.within()
    work = frame.work if frame.phase == WORKING else None
    total = None if sets is None else (sets[0].taken if sets[0].exhausted else sets[0].total)
    return Place(
        path=frame.plan.path,
        visit=1,
        phase=PHASES[frame.phase],
        params=frame.visit.params if frame.visit is not None else frame.params,
        item=None if work is None else work.taken,
        items=None if work is None else (work.taken if work.exhausted else work.total),
        param_set=None if sets is None else sets[1] + 1,
        param_sets=total,
        depth=len(position.frames) - 1,
        action=plain_text(frame.action) if frame.phase == LEAVE else None,
        note="" if work is None else _of_item(work),
    )


def item_that_failed(position: Position, error: BaseException) -> int | None:
    """Return the number, from 1, of the batch node's item whose call raised this error; None if there is none."""
    frame = (position.failure or position).frames[-1]  # a failure closes the frames of the position
    if frame.work is None or frame.plan.kind != "batch_node":
        return None
    return next((place + 1 for place, outcome in frame.work.odd.items() if outcome.error is error), None)


def _of_item(work: Batch) -> str:
    """What to say of the item that was called last, if it did not simply have a result."""
    outcome = work.odd.get(work.taken - 1)
    if outcome is None or outcome.status == "ok":
        return ""
    if outcome.error is None:
        return f"item {work.taken}: {outcome.status}"
    return f"item {work.taken}: {outcome.status}, {error_text(outcome.error)}"
