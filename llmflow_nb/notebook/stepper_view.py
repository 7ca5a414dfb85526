"""The widget of a stepper: shows where it is, and sends it commands.

All state is in the stepper. The graph is sent once; after each command, what has changed is sent. The front end gets
only text. `stepper_requests` runs what it requests.
"""

import re
import threading
from collections.abc import Callable
from typing import Any

import traitlets

from ..graph.builder import graph_of
from ..graph.outline import outline_of
from ..graph.render import DrawingError
from ..graph.sketch import SIGNS
from ..stepper.commands import COMMANDS
from ..stepper.stepper import Stepper
from . import stepper_state as state
from .node_facts import look
from .run_graph import MAX_NODES
from .stepper_requests import Request, Requests
from .values import ValueTexts
from .view import View, script, style

__all__ = ["StepperView"]

PARTS = ("graph.js", "node.js", "shared.js", "history.js", "stepper.js")
STILL_AFTER = 0.4
"""Seconds after the last command until the picture for a saved notebook is drawn."""
FIXED = {"commands": [command._asdict() for command in COMMANDS if command.key], "signs": SIGNS}


class StepperView(View):
    """Shows one stepper, wherever it is displayed."""

    _esm = script("stepper", *PARTS)
    _css = style("stepper")

    svg = traitlets.Unicode().tag(sync=True)
    outline = traitlets.Unicode().tag(sync=True)
    fixed = traitlets.Dict(FIXED).tag(sync=True)
    """The buttons, a dict for each, and the signs of the states of nodes."""
    nodes = traitlets.Dict().tag(sync=True)
    """The paths of nodes, by the ids of their groups in the drawing."""
    place = traitlets.Dict().tag(sync=True)
    marks = traitlets.Dict().tag(sync=True)
    shared: Any = traitlets.List().tag(sync=True)
    """The keys of ``shared``: a dict for each."""
    places: Any = traitlets.List().tag(sync=True)
    looked = traitlets.Dict().tag(sync=True)
    """The node that the user looks at; empty if none."""
    compared = traitlets.Dict().tag(sync=True)
    """What differs between a place that the user chose and the current one; empty if none was chosen."""
    status = traitlets.Dict().tag(sync=True)
    """Whether a command runs, and the message of the last one."""
    work = traitlets.Dict().tag(sync=True)
    """The progress of a command that takes long; empty if none does."""
    height = traitlets.Int(0).tag(sync=True)
    """The height that the user has chosen, in pixels; 0 for the usual one."""

    def __init__(self, stepper: Stepper, draw_still: Callable[[str], object]) -> None:
        """Show a stepper.

        Args:
            stepper: The stepper.
            draw_still: Draws the picture for a saved notebook, in the output with the id that it is given.
        """
        super().__init__()
        self._stepper, self._session = stepper, stepper._session
        self._refreshing = threading.RLock()
        self._draw_still = draw_still
        self._still: threading.Timer | None = None
        self._closed: set[str] = set()
        self._look, self._compare = "", -1
        self._rows: dict[int, dict[str, Any]] = {}
        views = {"look": self._look_at, "compare": self._compare_with, "fold": self._fold, "whole": self._send_whole}
        self._requests = Requests(stepper, self, views)
        self._draw()
        self.refresh()
        self.on_msg(self._on_request)

    # ---- what is shown -----------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        model = self._model = graph_of(self._stepper.root, max_nodes=MAX_NODES, closed=self._closed)
        self.outline = outline_of(model)
        try:
            svg = model.svg()
        except DrawingError:
            return
        if (prefix := re.match(r'<svg[^>]*><g id="(g[0-9a-f]{10}-)', svg)) is not None:
            self.nodes = {f"{prefix[1]}n{i}": node.id for i, node in enumerate(model.nodes)}
        self.svg = svg

    def refresh(self) -> None:
        """Send what has changed."""
        history, texts = self._session.history, ValueTexts()
        with self._refreshing, self.hold_sync():
            self.place = state.place(self._stepper, self._model, texts)
            self.marks = state.marks(self._model, self._stepper)
            self.shared = state.keys(history.now, texts)
            self.places = state.places(history, self._rows)
            self.looked = look(self._stepper, self._model, self._look, texts) if self._look else {}
            is_chosen = 0 <= self._compare < len(history.entries)
            chosen = history.entries[self._compare] if is_chosen else history.now
            self.compared = {} if chosen is history.now else state.comparison(chosen, history.now, texts)

    def on_idle(self) -> None:
        """Draw the picture once no further command has come for a moment: each drawing takes time in the front end."""
        if self._still is not None:
            self._still.cancel()
        self._still = threading.Timer(STILL_AFTER, self._draw_still, [self.still_id])
        self._still.daemon = True
        self._still.start()

    def _on_request(self, _: Any, content: Any, buffers: Any) -> None:
        """Receive a request of the front end."""
        if isinstance(content, dict):
            self._requests.receive(content)

    # ---- what the front end can request to be shown ------------------------------------------------------------------

    def _look_at(self, request: Request) -> None:
        """Show what there is to know of a node; without a path no longer."""
        path = str(request.get("path") or "")
        self._look = path if any(node.id == path for node in self._model.nodes) else ""
        self.refresh()

    def _compare_with(self, request: Request) -> None:
        """Show what differs between a place and the current one; without a number no longer."""
        self._compare = int(request.get("number", -1))
        if 0 <= self._compare < len(self._session.history.entries):
            self._session.history.entries[self._compare].require_saved()
        self.refresh()

    def _fold(self, request: Request) -> None:
        """Draw the graph with a flow closed, or open again."""
        path = str(request["path"])
        if path in {cluster.id for cluster in self._model.clusters[1:]}:
            self._closed ^= {path}
            with self.hold_sync():
                self._draw()
                self.refresh()

    def _send_whole(self, request: Request) -> None:
        """Send the whole text of a value."""
        id = str(request["id"])
        self.send({"whole": id, "text": state.whole_text(self._stepper, id, ValueTexts())})
