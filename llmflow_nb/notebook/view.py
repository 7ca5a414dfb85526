"""A widget, and a second output that a saved notebook shows.

A saved notebook has no kernel that answers a widget. So each widget has an output beside it that needs no kernel. This
output is hidden as long as the widget is there.
"""

from pathlib import Path
from typing import Any
from uuid import uuid4

import anywidget

from .frontend import publish

__all__ = ["Places", "View", "publish_side_by_side", "publish_view", "reserve", "script", "style"]

STATIC = Path(__file__).parent / "static"
SHARED = ("elements.js", "values.js", "kernel.js")

Places = tuple[str, str]
"""The display ids of two outputs: of a widget, and of what a saved notebook shows."""


class View(anywidget.AnyWidget):
    """A widget of this package. ``still_id`` is the display id of the output beside it."""

    still_id = ""

    def bundle(self) -> dict[str, Any]:
        """Return the output that a front end shows as the widget. Without text, which the output beside it has."""
        made: Any = super()._repr_mimebundle_()
        data = made[0] if isinstance(made, tuple) else made
        return {name: value for name, value in data.items() if name != "text/plain"}


def publish_view(view: View, still: dict[str, Any], places: Places | None = None) -> None:
    """Show a widget, and beside it what a saved notebook shows: in two new outputs, or in two reserved ones."""
    shown_at, view.still_id = places or _new_places()
    is_there = places is not None
    publish(view.bundle(), transient={"display_id": shown_at}, update=is_there)
    publish(still, transient={"display_id": view.still_id}, update=is_there)


def publish_side_by_side(views: list[View], stills: list[dict[str, Any]]) -> None:
    """Show widgets side by side, and below them what a saved notebook shows of each."""
    from ipywidgets import Box, Layout

    for view in views:
        view.layout = Layout(flex="1 1 400px", min_width="0")
    box: Any = Box(views, layout=Layout(flex_flow="row wrap"))
    data = box._repr_mimebundle_()
    publish({name: value for name, value in data.items() if name != "text/plain"})
    for view, still in zip(views, stills, strict=True):
        view.still_id = _new_places()[1]
        publish(still, transient={"display_id": view.still_id}, update=False)


def reserve() -> Places:
    """Make two empty outputs in this cell, for a widget that a request of the front end opens: it has no cell."""
    places = _new_places()
    for place in places:
        publish({"text/html": "", "text/plain": ""}, transient={"display_id": place}, update=False)
    return places


def _new_places() -> Places:
    return f"llmflow_nb-{uuid4().hex}", f"llmflow_nb-{uuid4().hex}"


def script(folder: str, *parts: str) -> str:
    """Return one module of some files: each uses the functions of those before it."""
    files = [*(f"shared/{part}" for part in SHARED), *(f"{folder}/{part}" for part in parts)]
    return "\n".join(map(_lines, files))


def style(folder: str) -> str:
    """Return the style sheet of a widget."""
    return "\n".join(map(_lines, ("shared/shared.css", f"{folder}/{folder}.css")))


def _lines(file: str) -> str:
    """Return a file that is sent to the front end, without its indentation and comments."""
    lines = map(str.strip, (STATIC / file).read_text(encoding="utf-8").splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))
