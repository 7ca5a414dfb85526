"""The points at which a stepper can stop, as a table that the stepper and its widget read.

To let the stepper stop at another boundary, have `advance` stop there (a flag and a phase in `engine/position.py`, a
check in `engine/advance.py`), and add a row here: `Stepper.into` then stops there, and the widget shows it. Where the
other commands stop is the table in `commands.py`.
"""

from typing import NamedTuple

from ..engine.position import (
    AFTER_EXEC,
    AFTER_ITEM,
    AFTER_POST,
    AFTER_PREP,
    BEFORE_PREP,
    EXEC,
    LEAVE,
    POST,
    PREP,
    WORKING,
)

__all__ = ["AT_END", "BOUNDARIES", "BOUNDARY_AT", "EVERYWHERE", "Boundary", "boundary_of"]


class Boundary(NamedTuple):
    """A point between two hooks.

    Attributes:
        phase: What `Location.phase` says there.
        mask: The flag that makes `advance` stop there.
        frame_phase: The phase of the top frame there; None at the end.
        ended: The hook that has just ended. The stepper passes by if the class does not define it.
        next_hooks: The hooks that may run next, in order.
        shows: The fields of `Pending` that are known there.
        is_between_items: Whether it is between two items of a batch node.
    """

    phase: str
    mask: int
    frame_phase: int | None
    ended: str = ""
    next_hooks: tuple[str, ...] = ()
    shows: tuple[str, ...] = ()
    is_between_items: bool = False


AT_END = Boundary("at the end", 0, None, shows=("action",))
BOUNDARIES = (
    Boundary("before prep", BEFORE_PREP, PREP, next_hooks=("prep", "exec", "post")),
    Boundary("after prep", AFTER_PREP, EXEC, "prep", ("exec", "post"), ("prep_res",)),
    Boundary("after exec", AFTER_ITEM, WORKING, "", ("exec",), ("prep_res", "exec_res"), is_between_items=True),
    Boundary("after exec", AFTER_EXEC, POST, "exec", ("post",), ("prep_res", "exec_res")),
    Boundary("after post", AFTER_POST, LEAVE, "post", (), ("prep_res", "exec_res", "action")),
    AT_END,
)

BOUNDARY_AT = {boundary.frame_phase: boundary for boundary in BOUNDARIES}
"""By the phase of the top frame."""
EVERYWHERE = sum(boundary.mask for boundary in BOUNDARIES)
_BY_PHASE = {(boundary.phase, boundary.is_between_items): boundary for boundary in BOUNDARIES}


def boundary_of(phase: str, *, is_between_items: bool = False) -> Boundary:
    """Return the boundary with this `Location.phase`."""
    return _BY_PHASE[phase, is_between_items]
