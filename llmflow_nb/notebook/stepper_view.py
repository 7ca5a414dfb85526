"""The widget of a stepper: shows where it is, and sends it commands.

All state is in the stepper. The graph is sent once; after each command, what has changed is sent. Commands run in a
thread, one after the other, so that the kernel can answer meanwhile. The front end gets only text.
"""

import json
import re
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, ClassVar

import traitlets

from ..core.text import error_text, quoted, shown
from ..core.traversal import last_name
from ..graph.builder import graph_of
from ..graph.outline import outline_of
from ..graph.render import DrawingError
from ..graph.sketch import SIGNS
from ..stepper.commands import COMMANDS
from ..stepper.stepper import Stepper
from . import stepper_state as state
from .interrupts import on_interrupt
from .lines import LineReader
from .node_facts import look
from .run_graph import MAX_NODES
from .values import ValueTexts
from .view import View, script, style

__all__ = ["StepperView", "parsed"]

PARTS = ("graph.js", "node.js", "shared.js", "history.js", "stepper.js")
MAX_QUEUE = 100
"""Commands that wait for the one in progress. Further ones are discarded."""
EVERY = 0.25
"""Seconds between two reports of the progress of a command."""
STILL_AFTER = 0.4
"""Seconds after the last command until the picture for a saved notebook is drawn."""
FIXED = {"commands": [command._asdict() for command in COMMANDS if command.key], "signs": SIGNS}
BUTTONS = {command.name for command in COMMANDS if command.key}


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

    def __init__(self, stepper: Stepper, on_idle: Callable[[str], object]) -> None:
        """Show a stepper.

        Args:
            stepper: The stepper.
            on_idle: Called with ``still_id`` when all requested commands have run.
        """
        super().__init__()
        self._stepper, self._session = stepper, stepper._session
        self._on_idle = on_idle
        self._lock, self._refreshing = threading.RLock(), threading.RLock()
        self._queue: deque[dict[str, Any]] = deque()
        self._is_working = False
        self._answers, self._message = 0, ""
        self._still: threading.Timer | None = None
        self._closed: set[str] = set()
        self._look, self._compare = "", -1
        self._rows: dict[int, dict[str, Any]] = {}
        self._send_status()
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

    # ---- requests ----------------------------------------------------------------------------------------------------

    def _on_request(self, _: Any, content: Any, buffers: Any) -> None:
        """Receive a request of the front end. Runs in the kernel's thread, or in another one of the kernel."""
        if not isinstance(content, dict):
            return
        do = content.get("do")
        with self._lock:
            self._answers += 1
            if do == "pause":
                self._pause()
            elif do in self._VIEWS:
                self._message = self._run(content, self._VIEWS[do])
            elif len(self._queue) < MAX_QUEUE:
                self._queue.append(content)
                if not self._is_working:
                    threading.Thread(target=self._work, name="llmflow_nb-step", daemon=True).start()
                    self._is_working = True
                    self._message = ""
            self._send_status()

    def _pause(self) -> None:
        """Stop the command in progress at the next boundary, and discard the waiting ones."""
        with self._lock:
            self._queue.clear()
            self._stepper.pause()
            if self._is_working:
                self._message = "stopping …"
            self._send_status()

    def _send_status(self) -> None:
        self.status = {"busy": self._is_working, "answers": self._answers, "message": self._message}

    def _work(self) -> None:
        """Run the requested commands in order. This is the target of a thread."""
        message, ended = "", threading.Event()
        threading.Thread(target=self._report, args=[ended], name="llmflow_nb-report", daemon=True).start()
        with on_interrupt(self._pause):
            while (content := self._next_command(message)) is not None:
                message = self._run(content, _command)
                if content.get("do") in ("break", "unbreak"):  # others refresh the view themselves
                    self.refresh()
                if message or self._stepper.error is not None:
                    with self._lock:
                        self._queue.clear()  # the other commands were meant for another place
        ended.set()
        self._draw_still_soon()

    def _report(self, ended: threading.Event) -> None:
        """Send the progress of the commands. This is the target of a thread."""
        reader, began = LineReader(self._session.record), monotonic()
        while not ended.wait(EVERY):
            lines = [line for line in reader.lines() if line.counts["done"] < line.counts["total"]][:3]
            progress = [
                [line.name, ", ".join(line.facts(going=True)), line.counts["done"], line.total] for line in lines
            ]
            self.work = {"seconds": round(monotonic() - began, 1), "lines": progress}
        self.work = {}

    def _next_command(self, message: str) -> dict[str, Any] | None:
        """Return the next command. If there is none, send the message of the last one and return None."""
        with self._lock:
            if self._queue:
                return self._queue.popleft()
            self._is_working = False
            self._message = message
            self._send_status()
            return None

    def _draw_still_soon(self) -> None:
        """Draw the picture once no further command has come for a moment: each drawing takes time in the front end."""
        if self._still is not None:
            self._still.cancel()
        self._still = threading.Timer(STILL_AFTER, self._on_idle, [self.still_id])
        self._still.daemon = True
        self._still.start()

    def _run(self, content: dict[str, Any], run: Callable[..., object]) -> str:
        """Run a request. Returns the error message, or ""."""
        self._session.echoes = False  # the widget shows the output; commands in a cell print it
        try:
            run(self if run is not _command else self._stepper, content)
        except KeyError as exc:
            return f"{quoted(content.get('do'), 40)} was requested without {shown(exc)}"
        except BaseException as exc:  # whatever the command raised: the widget reports it and stays usable
            return error_text(exc, 600)
        finally:
            self._session.echoes = True
        return ""

    # ---- requests that change only what is shown ---------------------------------------------------------------------

    def _look_at(self, content: dict[str, Any]) -> None:
        """Show what there is to know of a node; without a path no longer."""
        path = str(content.get("path") or "")
        self._look = path if any(node.id == path for node in self._model.nodes) else ""
        self.refresh()

    def _compare_with(self, content: dict[str, Any]) -> None:
        """Show what differs between a place and the current one; without a number no longer."""
        self._compare = int(content.get("number", -1))
        if 0 <= self._compare < len(self._session.history.entries):
            self._session.history.entries[self._compare].require_saved()
        self.refresh()

    def _fold(self, content: dict[str, Any]) -> None:
        """Draw the graph with a flow closed, or open again."""
        path = str(content["path"])
        if path in {cluster.id for cluster in self._model.clusters[1:]}:
            self._closed ^= {path}
            with self.hold_sync():
                self._draw()
                self.refresh()

    def _send_whole(self, content: dict[str, Any]) -> None:
        """Send the whole text of a value."""
        id = str(content["id"])
        self.send({"whole": id, "text": state.whole_text(self._stepper, id, ValueTexts())})

    _VIEWS: ClassVar[dict[str, Callable[..., None]]] = {
        "look": _look_at,
        "compare": _compare_with,
        "fold": _fold,
        "whole": _send_whole,
    }


def _command(stepper: Stepper, content: dict[str, Any]) -> None:
    do = content.get("do")
    forms: dict[Any, Callable[[], Any]] = {
        "again": lambda: stepper.rerun(call_again=True),
        "goto": lambda: stepper.goto(content["number"]),
        "item": lambda: stepper.to_item(content["number"]),
        "set": lambda: stepper.set(_key(stepper, content["key"]), _given(content)),
        "delete": lambda: stepper.delete(_key(stepper, content["key"])),
        "force": lambda: stepper.force(content["action"] or None),
        "mock": lambda: stepper.mock(parsed(content["json"])),
        "break": lambda: _toggle(stepper, str(content["path"])),
        "unbreak": lambda: stepper.breakpoints.remove(content["number"]),
    }
    if do in forms:
        forms[do]()
    elif do in BUTTONS - {"pause"}:
        getattr(stepper, str(do))()


def _given(content: dict[str, Any]) -> Any:
    return content["text"] if type(content.get("text")) is str else parsed(content["json"])


def parsed(text: Any) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: It is not JSON. Names the line and the column.
    """

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    try:
        return json.loads(str(text), parse_constant=refuse)
    except json.JSONDecodeError as exc:
        raise ValueError(f"this is not JSON: {exc.msg}, in line {exc.lineno}, column {exc.colno}") from None


def _key(stepper: Stepper, name: Any) -> Any:
    """Return the key of ``shared`` that is shown by this name; the name itself if there is none."""
    return next((key for key in stepper._session.history.now.snapshot if state.name_of(key) == name), name)


def _toggle(stepper: Stepper, path: str) -> None:
    found = [b for b in stepper.breakpoints if b.node in (path, last_name(path)) and b.is_plain]
    for breakpoint in found:
        stepper.breakpoints.remove(breakpoint)
    if not found:
        stepper.breakpoints.add(path)
