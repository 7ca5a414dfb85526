"""Where a run is: an explicit stack of frames, as plain data.

A frame is the visit of a node, and the walk through a flow that the visit belongs to. The bottom frame of a run has the
node that is run, and no walk; a flow that is visited puts a frame on top. Nothing of a run is on Python's own stack,
which therefore limits neither depth nor length, and a `Checkpoint` can be taken of a position.
"""

from contextvars import Context
from typing import TYPE_CHECKING, Any

from ..core.node import BaseNode, label
from ..core.traversal import path_part
from ..core.usage import Usage
from .batch import PENDING, Batch
from .lane import Lane
from .plan import DRIVEN, NOWHERE, Plan
from .setup import Setup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..core.spend import Meter
    from .checkpoint import Checkpoint

__all__ = ["ARRIVE", "Frame", "Position", "Walk"]

# Why `advance` came back.
END, BOUNDARY, AWAIT, CALLS, SETS = "end", "boundary", "await", "calls", "sets"

CHECK_EVERY, CHECK_SETS_EVERY = 1024, 64
"""Visits of a walk, and param sets of a flow, after which the size of the record is checked."""

# What comes next in a frame.
ARRIVE = 0  # copy the node for a visit
ARRIVED = 1  # (the boundary before prep)
PREP = 2  # call prep
PREPPED = 3  # prep's result is there
EXEC = 4  # start exec
WORKING = 5  # exec was handed to the driver, or to the items of a batch, or to an inner frame
EXECED = 6  # exec's result is there
POST = 7  # call post
POSTED = 8  # the action is there: check it
LEAVE = 9  # record the visit and follow the edge
EXPAND = 10  # call the exec of a batch flow for one of its elements
EXPANDED = 11  # its result is there

# The boundaries at which `advance` can stop. Each is the bit of the phase that comes next: a mask is a set of phases.
BEFORE_PREP, AFTER_PREP, AFTER_ITEM, AFTER_EXEC, AFTER_POST = (1 << n for n in (PREP, EXEC, WORKING, POST, LEAVE))
ALL = BEFORE_PREP | AFTER_PREP | AFTER_EXEC | AFTER_POST


def _copier(cls: type) -> "Callable[[Any], Any]":
    """Return a function that copies an object slot by slot, a line for each: 0.5 us; with getattr and setattr 5 us.

    A stepper copies each frame at each boundary.
    """
    names: tuple[str, ...] = cls.__slots__  # type: ignore[attr-defined]
    lines = ["def copy(self):", "    twin = new(cls)", *(f"    twin.{name} = self.{name}" for name in names)]
    namespace: dict[str, Any] = {"new": object.__new__, "cls": cls}
    exec("\n".join([*lines, "    return twin"]), namespace)
    copy: Callable[[Any], Any] = namespace["copy"]
    return copy


class Walk:
    """One walk through the nodes of a flow, or of one param set after the other through those of a batch flow."""

    __slots__ = (  # noqa: RUF023  ordered by meaning
        "owner",  # the plan of the flow
        "flow",  # the copy of the flow whose hooks serve this walk
        "start",  # the first node
        "has_router",  # whether the flow has its own ``get_next_node``, which chooses the next node
        "implicit",  # whether it is for elements that ``exec`` of the batch flow around it returned
        "steps",  # visits so far
        "max_steps",  # how many there may be
        "check_at",  # the number of visits after which it is checked again
        # The param sets of a batch flow.
        "sets",  # all of them; None for a plain flow
        "set_open",  # whether one is in progress
        "set_started",  # clock when it started
        "element",  # the element that it is made of
        "base_params",  # what the element is merged into
        "inner_items",  # what the start node is given as ``items``
        "part_of",  # of a walk side by side: its param set, as the batch and the index there
    )

    def __init__(self, owner: Plan, flow: Any, params: Any, start: BaseNode) -> None:
        self.owner = owner
        self.flow = flow
        self.start = start
        self.has_router = owner.facts.has_router
        self.implicit = False
        self.steps = 0
        self.max_steps = owner.facts.settings.max_steps
        self.check_at = CHECK_EVERY if self.max_steps > CHECK_EVERY else self.max_steps
        self.sets: Batch | None = None
        self.set_open = False
        self.set_started = 0.0
        self.element: Any = None
        self.base_params = params
        self.inner_items: Iterable[Any] | None = None
        self.part_of: tuple[Batch, int] | None = None

    @property
    def param_set(self) -> "tuple[Batch, int] | None":
        """The param set that is walked: its batch, and its index there; None for a plain flow."""
        return self.part_of if self.sets is None else (self.sets, self.sets.items.read - 1)


class Frame:
    """The visit of a node, in a walk or at the bottom of a run."""

    __slots__ = (  # noqa: RUF023  ordered by meaning
        "walk",  # None at the bottom of a run
        "params",  # what the nodes of the walk see as their params
        "node",  # the user's object
        "plan",  # its plan
        "visit",  # its copy, which the three hooks share; None between visits
        "phase",  # what comes next
        "prep_res",  # what ``prep`` returned
        "exec_res",  # what ``exec`` returned
        "result",  # of the visit of a flow: the result of the last node in it
        "action",  # what ``post`` returned
        "status",  # "ok", or "fallback" if the fallback returned the result
        "attempts",  # of ``exec``
        "t_start",  # clock when ``prep`` started
        "t_prepared",  # clock when it ended
        "t_executed",  # clock when ``exec`` ended
        "work",  # the calls, unless the only one is made on the spot
        "spent",  # what the hooks of the visit have reported with `spend`; what calls have used is in ``work``
        "has_warned",  # whether a missing edge for the last action of this walk, or of the flow visited, was reported
        "resumed_at",  # of a visit that was resumed: its copy, and its phase then; the clocks count from there
    )

    def __init__(self, node: BaseNode, params: Any, walk: Walk | None = None) -> None:
        self.walk: Walk = walk  # type: ignore[assignment]
        self.params = params
        self.node = node
        self.plan: Plan = NOWHERE
        self.visit: Any = None
        self.phase = ARRIVE
        self.prep_res: Any = None
        self.exec_res: Any = None
        self.result: Any = None
        self.action: Any = None
        self.status = "ok"
        self.attempts = 1
        self.t_start = self.t_prepared = self.t_executed = 0.0
        self.work: Batch | None = None
        self.spent: tuple[Usage, ...] = ()
        self.has_warned = False
        self.resumed_at: tuple[Any, int] | None = None

    @property
    def sets(self) -> Batch | None:
        """The param sets of its walk; None if there are none."""
        return None if self.walk is None else self.walk.sets

    def copy(self) -> "Frame":
        """Return another frame with the same visit and the same batches."""
        twin = _copy_frame(self)
        if twin.walk is not None:
            twin.walk = _copy_walk(twin.walk)
        return twin


_copy_walk: "Callable[[Walk], Walk]" = _copier(Walk)
_copy_frame: "Callable[[Frame], Frame]" = _copier(Frame)


def set_by_hooks(frame: Frame) -> dict[str, Any]:
    """Return the attributes that the hooks of a visit have set on the copy of the node so far."""
    of_node = vars(frame.node)
    return {
        name: value
        for name, value in vars(frame.visit).items()
        if name not in ("params", "items", DRIVEN) and of_node.get(name, frame) is not value
    }


_NOT_GIVEN_BACK = frozenset({"params", "items", "last_run", "successors", DRIVEN})


class Position:
    """Where a run is, or one of its param sets that run side by side."""

    __slots__ = (  # noqa: RUF023  ordered by meaning
        "shared",  # what the hooks read and write
        "frames",  # the stack, the outermost walk first
        "inline",  # whether calls may be made on the spot: not if other walks run beside this one
        "awaits_exec",  # whether the driver awaits an ``exec`` as it awaits the other hooks: for nothing runs beside it
        "awaiting",  # the coroutine that the driver has to await
        "slot",  # the attribute of the top frame that takes its result
        "error",  # the exception that the awaited or called code raised, to be raised here
        "context",  # what the hooks run in; None: the context of the driver
        "meter",  # takes what the hooks report with `spend`, see `hook_meter`
        "lane",  # what runs the coroutines of the hooks in that context; None before there is one
        "paused_at",  # clock when `advance` stopped at a boundary
        "failed_at",  # after a failure: the path of the node
        "failure",  # after a failure or an interrupt: a checkpoint from before the frames were closed
        "outermost",  # the copy of the run's node that serves its visit, and what the node had; None if no hook gets it
        "action",  # at the end: the last action
        "result",  # at the end: the result of the last node; before: `PENDING`
    )

    def __init__(self, shared: Any, frames: list[Frame], *, inline: bool = True) -> None:
        self.shared = shared
        self.frames = frames
        self.inline = inline
        self.awaits_exec = False
        self.awaiting: Any = None
        self.slot = ""
        self.context: Context | None = None
        self.meter: Meter | None = None
        self.lane: Lane | None = None
        self.error: BaseException | None = None
        self.paused_at: float | None = None
        self.failed_at: str | None = None
        self.failure: Checkpoint | None = None
        self.outermost: tuple[Any, dict[str, Any]] | None = None
        self.action: Any = None
        self.result: Any = PENDING

    @classmethod
    def at_start(
        cls, node: BaseNode, shared: Any, setup: Setup, *, inline: bool = True, plan: Plan | None = None
    ) -> "Position":
        """Return the position before the first prep of a run.

        A copy of the node serves the visit, as in a flow, so several callers may run one node at once. `give_back`
        sets on the node what the hooks have set on the copy.

        Args:
            node: The node that is run.
            shared: What the hooks read and write.
            setup: The options of the run.
            inline: Whether calls may be made on the spot.
            plan: The plan of the node from the previous run, if the names are the same: it is used again if it is
                still valid.
        """
        params = node.params
        frame = Frame(node, params)
        if plan is None or not plan.renew(setup):
            name = label(node)
            plan = Plan(node, name, path_part(name), setup)
        frame.plan = plan
        frame.phase = ARRIVED
        position = cls(shared, [frame], inline=inline)
        facts = plan.facts
        if facts.hooks.own or facts.has_router or facts.layers:
            frame.visit = plan.clone(params)
            before = dict(vars(node))
            before.pop("last_run", None)  # else each failed run would hold the one before
            position.outermost = frame.visit, before
        else:  # no method of a user gets the visit, so it needs no copy
            frame.visit = node
        return position

    def give_back(self, node: BaseNode) -> None:
        """Set on the node of a run what the hooks have set on the copy of it, so that it can be read after the run."""
        if self.outermost is None:
            return
        now, before = vars(self.outermost[0]), self.outermost[1]
        for name, value in now.items():
            if name not in _NOT_GIVEN_BACK and before.get(name, _NOT_GIVEN_BACK) is not value:
                node.__dict__[name] = value
        if not before.keys() <= now.keys():
            for name in before.keys() - now.keys():
                node.__dict__.pop(name, None)

    def where(self) -> str:
        """Return the path of the current node; "" if another thread moves the position just now."""
        try:
            return self.path
        except (AttributeError, IndexError):  # between two frames, or between two nodes
            return ""

    def param_set(self) -> "tuple[Batch, int] | None":
        """Return the innermost param set that is walked here: its batch, and its index there."""
        for frame in reversed(self.frames):
            found = None if frame.walk is None else frame.walk.param_set
            if found is not None:
                return found
        return None

    def unrecorded_usage(self) -> list[Usage]:
        """Return what the visits in progress and their single calls have reported; the record has it when they end."""
        calls = [frame.work.usage.all() for frame in self.frames if frame.work is not None and frame.work.is_single]
        return [usage for reports in (*(frame.spent for frame in self.frames), *calls) for usage in reports]

    @property
    def path(self) -> str:
        """Names from the outermost flow to the current node, joined by "/"."""
        return self.frames[-1].plan.path

    @property
    def has_ended(self) -> bool:
        """Whether `advance` has brought it to its end."""
        return self.result is not PENDING

    def close_lane(self) -> None:
        """Close the lane when no hook of this walk follows."""
        if self.lane is not None:
            self.lane.close()
            self.lane = None

    def leave_lane(self) -> None:
        """Leave the lane to a coroutine that was cancelled but may still run; later hooks get another one."""
        assert self.context is not None
        self.lane, self.context = None, self.context.copy()

    def wait_for(self, awaitable: Any, slot: str) -> str:
        """Let the driver await what a hook returned, for an attribute of the top frame. Return `AWAIT`."""
        self.awaiting = awaitable
        self.slot = slot
        return AWAIT

    def resume(self, value: Any) -> None:
        """Take the value that the awaited coroutine returned."""
        setattr(self.frames[-1], self.slot, value)
        self.awaiting = None

    def throw(self, error: BaseException) -> None:
        """Take the exception that the awaited coroutine, or one of the calls, raised."""
        self.error = error
        self.awaiting = None
