"""Whose tokens the hooks of a walk have used: decided once, when they are reported.

A walk has one meter. `advance` and the awaited hooks run with it in their context; an attempt that a driver makes has
its `Call` instead. The frames say what the hook belongs to, so no other place has to sort reports out.
"""

from threading import Lock

from ..core.spend import METER
from ..core.usage import Usage
from .budget import Budget
from .events import Recorder
from .position import Frame, Position
from .setup import Setup

__all__ = ["HookMeter", "use_hook_meter"]


class HookMeter:
    """The `Meter` of the hooks of one walk.

    A report belongs to the innermost of these that is in progress:

    * the item that a batch node calls ``exec`` for on the spot, or that the generator of its ``prep`` is asked for;
    * a visit;
    * a param set, between two visits: the ``exec`` of its batch flow, or a router;
    * no visit: it came after the end of the walk. It still counts for the run.
    """

    __slots__ = ("_budget", "_frames", "_recorder")
    _lock = Lock()

    def __init__(self, frames: list[Frame], recorder: Recorder, budget: Budget | None) -> None:
        """``frames``: those of the walk, and not its position, whose context refers to this meter."""
        self._frames, self._recorder, self._budget = frames, recorder, budget

    def append(self, usage: Usage) -> None:
        """Add a report. Called from any thread that has the context of a hook."""
        if self._budget is not None:
            self._budget.spend(usage)
        for frame in reversed(self._frames):
            if frame.visit is not None:
                work = frame.work
                if work is None or work.is_single or work.items.exhausted or frame.plan.facts.is_flow:
                    with self._lock:
                        frame.spent += (usage,)
                else:
                    work.usage.add(len(work.outcomes.results), (usage,))
                return
            if frame.walk is not None and frame.walk.set_open:
                self._recorder.add_usage((usage,), frame.walk.param_set, of_visit=False)
                return
        self._recorder.add_usage((usage,), None, of_visit=False)


def use_hook_meter(position: Position, setup: Setup) -> None:
    """Let the hooks of a position report to a meter of its own: here, and in its context if it has one.

    Hooks of a visit that an override drives report to the visit that has a row, as the override itself does.
    """
    position.meter = METER.get() if setup.silent_path else HookMeter(position.frames, setup.recorder, setup.budget)
    if position.context is not None:
        position.context.run(METER.set, position.meter)
