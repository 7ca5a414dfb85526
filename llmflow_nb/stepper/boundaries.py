"""The points at which a stepper can stop: one table, which the stepper, its widget and the tests read.

To let the stepper stop at another point of `advance`:

1. Choose ``PHASE``, what comes next there. If `engine/position.py` has no such phase, add it. The phases are numbered
   in the order in which they follow each other, so the later phases get new numbers.
2. Add a row here.
3. Check for it in `advance`, before what comes next::

       if mask and phase < PHASE and mask & (1 << PHASE):
           return _pause(position, PHASE)

`Stepper.into` then stops there, and the widget shows it. Where other commands stop is the table in `commands.py`.

There is no boundary within a call: `Attempts` in `engine/attempts.py` makes its attempts and calls the fallback without
a return to `advance`. To stop there, for example before a fallback (`Attempts._attempt_failed`), a call in progress
must first become something that a `Position` keeps while it is paused.
"""

from typing import NamedTuple

from ..engine.position import EXEC, LEAVE, POST, PREP, WORKING

__all__ = ["AT_END", "BOUNDARIES", "BOUNDARY_AT", "EVERYWHERE", "Boundary"]


class Boundary(NamedTuple):
    """A point between two hooks."""

    name: str  # what `Location.phase` says there
    phase: int | None  # the engine's phase that comes next; None at the end
    ended: str = ""  # the hook that has just ended; the stepper does not stop there if the class does not define it
    next_hooks: tuple[str, ...] = ()  # the hooks that may run next, in order
    shows: tuple[str, ...] = ()  # the fields of `Pending` that are known there

    @property
    def mask(self) -> int:
        """The bit that lets `advance` stop there."""
        return 0 if self.phase is None else 1 << self.phase


AT_END = Boundary("at the end", None, shows=("action",))
BOUNDARIES = (
    Boundary("before prep", PREP, next_hooks=("prep", "exec", "post")),
    Boundary("after prep", EXEC, "prep", ("exec", "post"), ("prep_res",)),
    Boundary("after exec", WORKING, "", ("exec",), ("prep_res", "exec_res")),  # between two items
    Boundary("after exec", POST, "exec", ("post",), ("prep_res", "exec_res")),
    Boundary("after post", LEAVE, "post", (), ("prep_res", "exec_res", "action")),
    AT_END,
)

BOUNDARY_AT = {boundary.phase: boundary for boundary in BOUNDARIES}
"""By the phase of the top frame."""
EVERYWHERE = sum(boundary.mask for boundary in BOUNDARY_AT.values())
