"""The widget of a stepper: shows where it is, and sends it commands.

All state is in the stepper. The graph is sent once; after each command, what has changed is sent. The front end gets
only text. `stepper_content` says what is sent, and `stepper_requests` runs what the front end requests.
"""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import traitlets

from ..graph.sketch import SIGNS
from ..stepper.commands import COMMANDS
from ..stepper.stepper import Stepper
from .stepper_content import StepperContent
from .stepper_requests import Request, Requests
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
        self._content = content = StepperContent(stepper)
        self._refreshing = threading.RLock()
        self._draw_still = draw_still
        self._still: threading.Timer | None = None
        choices = {"look": content.look_at, "compare": content.compare_with, "fold": content.fold}
        views = {name: partial(self._show, choose) for name, choose in choices.items()}
        self._requests = Requests(stepper, self, {**views, "whole": self._send_whole})
        self._show(content.drawing)
        self.refresh()
        self.on_msg(self._on_request)

    def _show(self, read: Callable[..., dict[str, Any]], *request: Request) -> None:
        """Set the traits that a function returns. What has changed is sent, all at once."""
        with self._refreshing, self.hold_sync():
            for name, value in read(*request).items():
                setattr(self, name, value)

    def refresh(self) -> None:
        """Send what has changed."""
        self._show(self._content.place)

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

    def _send_whole(self, request: Request) -> None:
        """Send the whole text of a value."""
        id = str(request["id"])
        self.send({"whole": id, "text": self._content.whole(id)})
