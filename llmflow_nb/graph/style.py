"""How a graph is drawn: direction, legend, and the colours that the user chose."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..core.errors import SettingError, a_type
from ..core.text import quoted

__all__ = ["COLOURS", "FONT", "GREY", "INK", "SOFT", "WRONG", "GraphStyle", "checked_style"]

FONT = "Helvetica,Arial,sans-serif"
INK, SOFT, GREY, WRONG = "#1f2937", "#565e6b", "#8a909a", "#c2362e"
# The fill and the line of boxes, light and dark: of the kinds, and of the states in a run.
COLOURS = {
    "node": ("#eef3fb", "#5b7db1", "#1e2a3d", "#6d8fc4"),
    "batch_node": ("#fdf4de", "#b58a3c", "#33291a", "#c79a4b"),
    "flow": ("#f3f4f6", "#7a7a7a", "#2a2d33", "#8b919b"),
    "batch_flow": ("#f3f4f6", "#7a7a7a", "#2a2d33", "#8b919b"),
    "ok": ("#e0f2e3", "#3d7a46", "#1c3322", "#5fae6b"),
    "partly": ("#fdeccb", "#a1671a", "#3a2c14", "#d39a3f"),
    "failed": ("#fbe0de", "#b3261e", "#40201e", "#ef6a62"),
    "cancelled": ("#ece9df", "#6b6b6b", "#2f2d28", "#9a978d"),
    "running": ("#d8e7ff", "#1f5fbf", "#1a2f52", "#6aa2f5"),
    "unvisited": ("#f4f4f4", "#9a9a9a", "#26282c", "#6b7079"),
}


@dataclass(frozen=True, slots=True)
class GraphStyle:
    """How a graph is drawn.

    Attributes:
        direction: "LR" from left to right, "TB" from top to bottom; None: the one that fits a cell.
        legend: Whether the drawing explains its signs.
        colours: DOT attributes of nodes, by their ids.
    """

    direction: str | None = None
    legend: bool = False
    colours: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


# Six digits: Graphviz 2.43 draws shorter colours black.
_COLOUR = re.compile(r"#[0-9A-Fa-f]{6}")
_VALUES = {
    "color": _COLOUR,
    "fillcolor": _COLOUR,
    "fontcolor": _COLOUR,
    "penwidth": re.compile(r"[0-9](\.[0-9]{1,3})?"),
}


def checked_style(id: str, found: Mapping[str, str] | None) -> dict[str, str]:
    """Return the result of the user's style function if it holds colours and a width only, which cannot break DOT.

    Raises:
        SettingError: Says which attribute is wrong, and what is allowed.
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
