"""Where each command of a stepper stops, and how the widget and the docs present it: one table.

To have a command stop elsewhere, change its rule. A new command is a row here and a method of `Stepper`; with a key it
also gets a button.
"""

from collections.abc import Callable
from typing import NamedTuple

from ..engine.position import AFTER_EXEC, AFTER_POST, AFTER_PREP, BEFORE_PREP
from .boundaries import EVERYWHERE
from .location import Location

__all__ = ["COMMANDS", "RULES", "Command", "Rule"]


class Rule(NamedTuple):
    """Where a command stops. It stops at the end of the run in any case."""

    mask: int  # the boundaries that it looks at, as bits of the engine
    stops: Callable[[Location, Location], bool]  # given where the command started and where it is: whether to stop
    is_literal: bool = False  # it also looks at boundaries after hooks that the class lacks, and ignores breakpoints


def _is_next_node(start: Location, here: Location) -> bool:
    return here.phase == "before prep" and here.depth <= start.depth


def _is_out(start: Location, here: Location) -> bool:
    return here.depth < start.depth or (here.depth == start.depth and here.param_set != start.param_set)


def _has_items(start: Location, here: Location) -> bool:
    """Whether ``start.item`` items are done, or all of them."""
    is_past = here.depth < start.depth or (here.phase == "after exec" and here.item is None)
    return is_past or (here.item is not None and here.item >= (start.item or 0))


def _is_same_point(start: Location, here: Location) -> bool:
    return (here.phase, here.depth, here.item) == (start.phase, start.depth, start.item)


def _has_ended(phase: str) -> Callable[[Location, Location], bool]:
    return lambda start, here: (here.phase, here.path, here.depth, here.item) == (phase, start.path, start.depth, None)


RULES = {
    "into": Rule(EVERYWHERE, lambda start, here: True),
    "over": Rule(BEFORE_PREP, _is_next_node),
    "out": Rule(BEFORE_PREP | AFTER_EXEC, _is_out),
    "run": Rule(BEFORE_PREP, lambda start, here: False),
    "to_item": Rule(EVERYWHERE, _has_items),
    "rerun": Rule(EVERYWHERE, _is_same_point),  # from before prep it stops where "over" does
    # The parts of `force` and `mock` that run hooks:
    "through prep": Rule(BEFORE_PREP | AFTER_PREP, _has_ended("after prep"), is_literal=True),
    "through exec": Rule(BEFORE_PREP | AFTER_EXEC, _has_ended("after exec"), is_literal=True),
    "through post": Rule(BEFORE_PREP | AFTER_POST, _has_ended("after post"), is_literal=True),
}


class Command(NamedTuple):
    """A command as the widget and the docs present it."""

    name: str  # the method of `Stepper`
    label: str  # of its button
    key: str  # as browsers name it; "" if there is no button
    sign: str  # the key as a user reads it
    code: str  # how it is called
    help: str  # what it does


COMMANDS = (
    Command("back", "back", "ArrowLeft", "←", "back()", "go to the previous place; `goto(n)` goes to any place"),
    Command("into", "into", "ArrowRight", "→", "into()", "run one hook or one item, or enter a flow"),
    Command("over", "over", "ArrowDown", "↓", "over()", "run to the start of the next node"),
    Command("out", "out", "ArrowUp", "↑", "out()", "run the rest of this flow, or of this param set"),
    Command("run", "run", "r", "r", "run()", "run to the next breakpoint, or to the end"),
    Command("rerun", "rerun", "e", "e", "rerun()", "run this node again, with its present code"),
    Command("pause", "stop", "s", "s", "pause()", "pause at the next boundary; `stop()` ends the run"),
    Command("to_item", "", "", "", "to_item(n)", "run until this number of items is done"),
)
