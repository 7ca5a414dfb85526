"""Where a run is: an explicit stack of frames, as plain data.

A frame is one walk through one flow. The bottom frame of a run walks nothing but the node that was asked to run; a
flow that is visited puts a frame on top. Nothing of a run lives on Python's own stack, so depth and length are not
bounded by it, and a position can be copied, kept, and gone on from.
"""

from contextvars import Context
from typing import TYPE_CHECKING, Any

from ..core.node import BaseNode, label
from ..core.traversal import path_part
from .batch import Batch
from .lane import Lane
from .plan import DRIVEN, Plan, Setup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .checkpoint import Checkpoint

__all__ = ["ARRIVE", "Frame", "Position"]

# The boundaries that a mask may name.
BEFORE_PREP, AFTER_PREP, AFTER_EXEC, AFTER_POST, AFTER_ITEM = 1, 2, 4, 8, 16
ALL = BEFORE_PREP | AFTER_PREP | AFTER_EXEC | AFTER_POST

# Why `advance` came back.
END, BOUNDARY, AWAIT, CALLS, SETS = "end", "boundary", "await", "calls", "sets"

CHECK_EVERY, CHECK_SETS_EVERY = 1024, 64
"""Visits of a walk, and param sets of a flow, after which the size of the record is looked at."""

# What comes next in a frame.
ARRIVE = 0  # copy the node for a visit
ARRIVED = 1  # (the boundary before prep)
PREP = 2  # call prep
PREPPED = 3  # prep's result is there
EXEC = 4  # begin exec
WORKING = 5  # exec was handed to the driver, or to the items of a batch, or to an inner frame
EXECED = 6  # exec's result is there
POST = 7  # call post
POSTED = 8  # the action is there: check it
LEAVE = 9  # record the visit and follow the edge
EXPAND = 10  # call the exec of a batch flow for one of its elements
EXPANDED = 11  # its result is there


class Frame:
    """One walk through one flow.

    Attributes:
        owner: The flow's plan; None at the bottom of a run.
        flow: The copy of the flow whose hooks serve this walk.
        base_params: What an element's params are merged into.
        params: What every node on this walk sees as its params.
        start: The first node of the walk.
        node: The user's node that is visited.
        plan: Its plan.
        visit: Its copy, which the three hooks share; None between visits.
        phase: What comes next.
        prep_res: What ``prep`` of the visit returned.
        exec_res: What ``exec`` of the visit gave.
        result: For a visit of a flow: the result of the last node in it.
        action: What ``post`` of the visit returned.
        status: "ok", or "fallback" when the fallback answered.
        attempts: Attempts of ``exec`` in this visit.
        t_start: Clock when ``prep`` began; t_prepared, t_executed: when it ended, when ``exec`` ended.
        steps: Visits on this walk so far; check_at: after how many to look at their number.
        work: The calls of the visit, where they are not made on the spot.
        items_told: How many items of a batch node had been taken when `advance` last stopped after one.
        told: Of a walk that ends, and of the visit of a flow: whether it was said already that there is no edge for
            the action that it ends with.
        sets: For a batch flow: its param sets; None for a plain flow.
        set_open: Whether a param set is under way.
        set_started: Clock when it began.
        element: The element it was made of.
        handed: What to hand to the start node as ``items``.
        part_of: In a branch: the param set that it walks, as its batch and its place there.
        implicit: Whether this walk is for elements that ``exec`` of the frame below returned.
        reached: Of a visit that was resumed: its copy, and the phase at which it was. Its clocks count from there.
        follows: Whether the edges choose the next node: not at the bottom of a run, nor where a flow's own
            ``get_next_node`` does.
    """

    __slots__ = (
        "action",
        "attempts",
        "base_params",
        "check_at",
        "element",
        "exec_res",
        "flow",
        "follows",
        "handed",
        "implicit",
        "items_told",
        "max_steps",
        "node",
        "owner",
        "params",
        "part_of",
        "phase",
        "plan",
        "prep_res",
        "reached",
        "result",
        "set_open",
        "set_started",
        "sets",
        "start",
        "status",
        "steps",
        "t_executed",
        "t_prepared",
        "t_start",
        "told",
        "visit",
        "work",
    )

    def __init__(self, owner: Plan | None, flow: Any, params: Any, start: BaseNode) -> None:
        self.owner: Plan = owner  # type: ignore[assignment]
        self.flow = flow
        self.base_params = params
        self.params = params
        self.start = start
        self.node = start
        self.plan: Plan = None  # type: ignore[assignment]
        self.visit: Any = None
        self.phase = ARRIVE
        self.prep_res: Any = None
        self.exec_res: Any = None
        self.result: Any = None
        self.action: Any = None
        self.status = "ok"
        self.attempts = 1
        self.t_start = self.t_prepared = self.t_executed = 0.0
        self.reached: tuple[Any, int] | None = None
        self.steps = 0
        self.max_steps = most_steps(owner)
        self.check_at = min(CHECK_EVERY, self.max_steps)
        self.work: Batch | None = None
        self.items_told = 0
        self.told = False
        self.sets: Batch | None = None
        self.set_open = False
        self.set_started = 0.0
        self.element: Any = None
        self.handed: Iterable[Any] | None = None
        self.part_of: tuple[Batch, int] | None = None
        self.implicit = False
        self.follows = owner is not None and not owner.has_router

    def copy(self) -> "Frame":
        """Return another frame that stands here, with the same visit and the same batches."""
        return _copy_slots(self, object.__new__(Frame))


def _copier_of_slots() -> "Callable[[Frame, Frame], Frame]":
    """Return a function that copies each slot in a line of its own: 0.5 us, with getattr and setattr 5 us.

    A stepper copies each frame at each boundary.
    """
    lines = ["def copy_slots(frame, twin):", *(f"    twin.{name} = frame.{name}" for name in Frame.__slots__)]
    namespace: dict[str, Any] = {}
    exec("\n".join([*lines, "    return twin"]), namespace)
    copy_slots: Callable[[Frame, Frame], Frame] = namespace["copy_slots"]
    return copy_slots


_copy_slots = _copier_of_slots()


def most_steps(owner: Plan | None) -> float:
    """Return how many visits one walk through a flow may make."""
    return float("inf") if owner is None or owner.max_steps is None else owner.max_steps


def set_by_hooks(frame: Frame) -> dict[str, Any]:
    """Return what the hooks of the visit on a frame have set on the node's copy so far."""
    of_node = vars(frame.node)
    return {
        name: value
        for name, value in vars(frame.visit).items()
        if name not in ("params", "items", DRIVEN) and of_node.get(name, frame) is not value
    }


_NOT_GIVEN_BACK = frozenset({"params", "items", "last_run", "successors", DRIVEN})


class Position:
    """The place of a run, or of one branch of it.

    Attributes:
        shared: What the hooks read and write.
        frames: The stack, the outermost walk first.
        inline: Whether calls may be made on the spot; not in a branch that runs beside others.
        awaiting: The coroutine that the driver is asked to await.
        slot: The attribute of the top frame that its result goes to.
        context: What the hooks run in; None: the context of the driver.
        lane: What runs the coroutines of the hooks, in that context; None before there is one.
        error: What the driver has to raise here: the exception that the awaited or called code ended with.
        paused_at: Clock when `advance` stopped at a boundary; else None.
        failed_at: After a failure: the path of the node that it came from.
        failure: After a failure or an interrupt: where it was then.
        outermost: The copy of the run's node that serves its visit, and what the node had on it; None in a branch.
        action: After the end: the last action.
        result: After the end: the result of the last node.
    """

    __slots__ = (
        "action",
        "awaiting",
        "context",
        "error",
        "failed_at",
        "failure",
        "frames",
        "inline",
        "lane",
        "outermost",
        "paused_at",
        "result",
        "shared",
        "slot",
    )

    def __init__(self, shared: Any, frames: list[Frame], *, inline: bool = True) -> None:
        self.shared = shared
        self.frames = frames
        self.inline = inline
        self.awaiting: Any = None
        self.slot = ""
        self.context: Context | None = None
        self.lane: Lane | None = None
        self.error: BaseException | None = None
        self.paused_at: float | None = None
        self.failed_at: str | None = None
        self.failure: Checkpoint | None = None
        self.outermost: tuple[Any, dict[str, Any]] | None = None
        self.action: Any = None
        self.result: Any = None

    @classmethod
    def at_start(cls, node: BaseNode, shared: Any, setup: Setup, *, inline: bool = True) -> "Position":
        """The position before the first prep of a run. A copy of the node serves the visit, as in a flow.

        So several callers may run one node at once. What the hooks set on the copy is given to the node by `give_back`.
        """
        frame = Frame(None, None, node.params, node)
        plan, name = setup.plan, label(node)
        if plan is None or plan.name != name or not plan.renew(setup):
            plan = Plan(node, name, path_part(name), setup)
        frame.plan = plan
        frame.visit = frame.plan.clone(node.params)
        frame.phase = ARRIVED
        frame.steps = 1
        position = cls(shared, [frame], inline=inline)
        before = dict(vars(node))
        before.pop("last_run", None)  # else each failed run would hold the one before
        position.outermost = frame.visit, before
        return position

    def give_back(self, node: BaseNode) -> None:
        """Set on the node of a run what the hooks have set on the copy of it, for who looks there after the run."""
        if self.outermost is None:
            return
        now, before = vars(self.outermost[0]), self.outermost[1]
        for name, value in now.items():
            if name not in _NOT_GIVEN_BACK and before.get(name, _NOT_GIVEN_BACK) is not value:
                node.__dict__[name] = value
        for name in before.keys() - now.keys():
            node.__dict__.pop(name, None)

    def where(self) -> str:
        """Return the path of the node that is visited, also while another thread moves the position."""
        try:
            return self.path
        except (AttributeError, IndexError):  # between two frames, or between two nodes
            return ""

    def param_set(self) -> "tuple[Batch, int] | None":
        """Return the innermost param set that is walked here: its batch, and its index there."""
        for frame in reversed(self.frames):
            if frame.sets is not None:
                return frame.sets, frame.sets.items.read - 1
            if frame.part_of is not None:
                return frame.part_of
        return None

    @property
    def path(self) -> str:
        """Names from the outermost flow to the node that is visited, joined by "/"."""
        return self.frames[-1].plan.path

    def close_lane(self) -> None:
        """End the lane, as no hook of this walk follows."""
        if self.lane is not None:
            self.lane.close()
            self.lane = None

    def leave_lane(self) -> None:
        """Leave a lane to a coroutine that was cancelled, and may go on for a while: what follows gets another one."""
        assert self.context is not None
        self.lane, self.context = None, self.context.copy()

    def resume(self, value: Any) -> None:
        """Hand over what the awaited coroutine returned."""
        setattr(self.frames[-1], self.slot, value)
        self.awaiting = None

    def throw(self, error: BaseException) -> None:
        """Hand over what the awaited coroutine, or the calls, raised."""
        self.error = error
        self.awaiting = None
