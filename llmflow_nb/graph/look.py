"""How a graph is drawn, apart from what it is: options, colours of the user's, and what happened in a run."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..core.errors import SettingError, a_type
from ..core.text import quoted
from .marks import Marks

if TYPE_CHECKING:
    from .model import GraphNode

__all__ = ["Look", "Style", "checked_style"]

Style = Callable[["GraphNode"], Mapping[str, str] | None]
"""Chooses how one node is drawn, see `Flow.graph`."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a graph is drawn.

    Attributes:
        direction: "LR" from left to right, "TB" from top to bottom; None: as it fits a cell.
        legend: Whether the drawing says what its signs stand for.
        colours: Attributes of DOT for nodes, by their ids.
        marks: What happened in a run; None: nothing is said of one.
    """

    direction: str | None = None
    legend: bool = False
    colours: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    marks: Marks | None = None


# Six digits: Graphviz 2.43 draws shorter colours black.
_COLOUR = re.compile(r"#[0-9A-Fa-f]{6}")
_VALUES = {
    "color": _COLOUR,
    "fillcolor": _COLOUR,
    "fontcolor": _COLOUR,
    "penwidth": re.compile(r"[0-9](\.[0-9]{1,3})?"),
}


def checked_style(id: str, found: Mapping[str, str] | None) -> dict[str, str]:
    """Return what a style function returned, if it is colours and a width: the drawing is to stay a drawing.

    Raises:
        SettingError: Says which attribute, and what it may be.
    """
    known = "color, fillcolor and fontcolor (as '#rrggbb') and penwidth (a number below 10)"
    if found is not None and not isinstance(found, Mapping):
        raise SettingError(f"style({quoted(id)}) returned {a_type(found)}; it may return None, or a dict with {known}.")
    style = {str(key): str(value) for key, value in (found or {}).items()}
    for key, value in style.items():
        pattern = _VALUES.get(key)
        if pattern is None or not pattern.fullmatch(value):
            raise SettingError(f"style({quoted(id)}) returned {key}={quoted(value, 40)}; it may return {known}.")
    return style
