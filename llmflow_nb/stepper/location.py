"""Where a stepper is: plain data, and one line of text."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..core.node import BaseNode
from ..core.text import error_text, message, params_text, plain_text, quoted, shown
from ..engine.batch import Batch
from ..engine.position import EXPANDED, WORKING, Position
from .boundaries import AT_END, BOUNDARY_AT, Boundary

__all__ = ["Location", "Pending", "failed_call_of", "location_of", "pending_at"]


@dataclass(frozen=True, slots=True)
class Location:
    """Where a stepper is. ``str`` gives it in one line.

    Attributes:
        path: The node, from the outermost flow down, joined by "/".
        visit: The number of the visit in this pass through the flow, from 1.
        boundary: The point between two hooks, a row of the table of boundaries.
        params: What the node sees as its params.
        item: In a batch node, between two items: the number of items that are done; None elsewhere.
        items: The number of items; None if unknown.
        param_set: The number of the param set of the batch flow around it, from 1; None outside of a batch flow.
        param_sets: The number of param sets; None if unknown.
        depth: The number of flows around the node.
        action: The action, after post and at the end.
        error: The exception of the last command, if the hook that follows here failed; else None.
        failed_item: In a batch node, the number of the item that failed, from 1; None elsewhere.
        called: The number of calls of ``exec`` made so far, on all branches.
        replayed: The number of calls of ``exec`` that were not made, because an earlier result was reused.
        note: A hint, such as an edit that was found; "" for none.
    """

    path: str
    visit: int
    boundary: Boundary
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
    def phase(self) -> str:
        """Which hook ended last: "before prep", "after prep", "after exec", "after post" or "at the end"."""
        return self.boundary.name

    @property
    def is_end(self) -> bool:
        """Whether the run has ended."""
        return self.boundary is AT_END

    @property
    def failed(self) -> str:
        """What failed: "failed", or "failed at item 8" in a batch; "" if nothing did."""
        if self.error is None:
            return ""
        return "failed" if self.failed_item is None else f"failed at item {self.failed_item}"

    def __str__(self) -> str:
        """Return everything in one line."""
        which = [f"visit {self.visit}"]
        if self.param_set is not None:
            which.append(f"param set {self.param_set}{_of(self.param_sets)}")
        which[-1] += params_text(self.params)
        if self.item is not None:
            which.append(f"item {self.item}{_of(self.items)}")
        phase = self.phase
        if "action" in self.boundary.shows:
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


def location_of(position: Position, *, visit: int, is_end: bool, note: str = "") -> Location:
    """Return where a position is.

    Args:
        position: The position.
        visit: The number of this visit of the node.
        is_end: Whether the run has ended.
        note: What to say there; "" for what the position itself says.
    """
    frame = position.frames[-1]
    if is_end:
        action = plain_text(position.action)
        return Location(frame.plan.path, visit, AT_END, frame.params, action=action, note=note)
    sets, boundary = position.param_set(), BOUNDARY_AT[frame.phase]
    work = frame.work if frame.phase == WORKING else None
    return Location(
        path=frame.plan.path,
        visit=visit,
        boundary=boundary,
        params=frame.visit.params if frame.visit is not None else frame.params,
        item=None if work is None else work.items.read,
        items=None if work is None else work.items.known_total,
        param_set=None if sets is None else sets[1] + 1,
        param_sets=None if sets is None else sets[0].items.known_total,
        depth=len(position.frames) - 1,
        action=plain_text(frame.action) if "action" in boundary.shows else None,
        note=note or ("" if work is None else _last_item(work)),
    )


class Pending(NamedTuple):
    """The input of the next step.

    Attributes:
        node: The node that is visited, as the user wrote it.
        phase: "before prep", "after prep", "after exec", "after post" or "at the end".
        prep_res: What ``prep`` returned; None before that.
        exec_res: What ``exec`` returned, in a batch the results so far; None before that.
        action: The action that ``post`` chose; None before that.
    """

    node: BaseNode
    phase: str
    prep_res: Any
    exec_res: Any
    action: Any


def pending_at(position: Position, here: Location) -> Pending:
    """Return the input of the next step from a position."""
    frame, shows = position.frames[-1], here.boundary.shows
    exec_res = frame.exec_res if here.item is None or frame.work is None else frame.work.outcomes.results[:]
    return Pending(
        node=frame.node,
        phase=here.phase,
        prep_res=frame.prep_res if "prep_res" in shows else None,
        exec_res=exec_res if "exec_res" in shows else None,
        action=here.action,
    )


def failed_call_of(position: Position, error: BaseException) -> tuple[int | None, tuple[Any, ...]]:
    """Return the number of the batch node's item whose call of ``exec`` raised this error, and the input of the call.

    The number is from 1, and None outside of batch nodes. The input is in a tuple; () if no call failed, or if unknown.
    """
    frame = (position.failure or position).frames[-1]  # a failure closes the frames of the position
    if frame.work is None or frame.phase == EXPANDED or frame.plan.facts.is_flow:
        return None, ()
    items, exceptional = frame.work.items, frame.work.outcomes.exceptional
    index = next((index for index, outcome in exceptional.items() if outcome.error is error), None)
    if index is None:
        return None, ()
    number = index + 1 if frame.plan.facts.kind == "batch_node" else None
    try:
        return number, (items.at(index),)
    except LookupError:  # it was not kept
        return number, ()


def _last_item(work: Batch) -> str:
    """Return the status of the last item if it is not "ok"."""
    outcome = work.outcomes.exceptional.get(work.items.read - 1)
    if outcome is None or outcome.status == "ok":
        return ""
    if outcome.error is None:
        return f"item {work.items.read}: {outcome.status}"
    return f"item {work.items.read}: {outcome.status}, {error_text(outcome.error)}"
