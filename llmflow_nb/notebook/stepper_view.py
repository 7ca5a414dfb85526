"""The widget of a stepper: shows where it is, and sends it commands.

All state is in the stepper. The graph is sent once; after each command, what has changed is sent. Commands run in a
thread, one after the other, so that the kernel can answer meanwhile. The front end gets only text.
"""

import json
import re
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import anywidget
import traitlets

from ..core.hooks import hooks_of
from ..core.text import MASK, class_name, error_text, is_secret, quoted, shown
from ..core.traversal import last_name
from ..graph.builder import graph_of
from ..graph.drawing import GraphModel
from ..graph.outline import outline_of
from ..graph.render import DrawingError
from ..stepper.commands import COMMANDS
from ..stepper.history import History, HistoryEntry
from ..stepper.location import Location
from ..stepper.output import short_traceback
from ..stepper.replay import ANSWERS
from ..stepper.snapshots import Version, changes
from ..stepper.stepper import Stepper
from .interrupts import on_interrupt
from .run_graph import MAX_NODES, with_status
from .values import ValueTexts

__all__ = ["StepperView"]

STATIC = Path(__file__).parent / "static"
LONG, SHORT = 2_000, 120
"""Characters of a value that is unfolded, and of one that is not."""
MAX_QUEUE = 100
"""Commands that wait for the one in progress. Further ones are discarded."""
MAX_PLACES, MAX_KEYS, MAX_OUTPUT = 300, 300, 10_000


class StepperView(anywidget.AnyWidget):
    """Shows one stepper, wherever it is displayed."""

    _esm = STATIC / "stepper.js"
    _css = STATIC / "stepper.css"

    svg = traitlets.Unicode().tag(sync=True)
    outline = traitlets.Unicode().tag(sync=True)
    commands: Any = traitlets.List().tag(sync=True)
    """The buttons: a dict for each."""
    nodes = traitlets.Dict().tag(sync=True)
    """The paths of nodes, by the ids of their groups in the drawing."""
    place = traitlets.Dict().tag(sync=True)
    marks = traitlets.Dict().tag(sync=True)
    shared: Any = traitlets.List().tag(sync=True)
    """The keys of ``shared``: a dict for each."""
    places: Any = traitlets.List().tag(sync=True)
    status = traitlets.Dict().tag(sync=True)
    """What changes while a command runs: whether one does, and the message of the last one."""

    def __init__(self, stepper: Stepper, on_idle: Callable[[str], object]) -> None:
        """Show a stepper.

        Args:
            stepper: The stepper.
            on_idle: Called with ``still_id`` when all requested commands have run.
        """
        super().__init__()
        self._stepper, self._session = stepper, stepper._session
        self._on_idle = on_idle
        self._model = graph_of(stepper.root, max_nodes=MAX_NODES)
        self.still_id = ""
        self._lock = threading.RLock()
        self._queue: deque[dict[str, Any]] = deque()
        self._is_working = False
        self._answers, self._message = 0, ""
        self.commands = [command._asdict() for command in COMMANDS if command.key]
        self._send_status()
        self._draw()
        self.refresh()
        self.on_msg(self._on_request)

    def bundle(self) -> dict[str, Any]:
        """Return the output that a front end shows as the widget, and start a new picture beside it."""
        self.still_id = f"llmflow_nb-{uuid4().hex}"
        made: Any = super()._repr_mimebundle_()
        data = made[0] if isinstance(made, tuple) else made
        return {name: value for name, value in data.items() if name != "text/plain"}

    # ---- what is shown -----------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        self.outline = outline_of(self._model)
        try:
            self.svg = self._model.svg()
        except DrawingError:
            return
        prefix = re.match(r'<svg[^>]*><g id="(g[0-9a-f]{10}-)', self.svg)
        if prefix is not None:
            self.nodes = {f"{prefix[1]}n{i}": node.id for i, node in enumerate(self._model.nodes)}

    def refresh(self) -> None:
        """Send what has changed."""
        history, texts = self._session.history, ValueTexts()
        with self.hold_sync():
            self.place = self._place(history.now, texts)
            self.marks = _marks(with_status(self._model, self._session.record), history)
            self.shared = _keys(history.now, texts)
            self.places = _places(history)

    def _place(self, entry: HistoryEntry, texts: ValueTexts) -> dict[str, Any]:
        here, pending = self._session.location, self._stepper.pending
        shows, hooks = here.boundary.shows, here.boundary.next_hooks
        is_batch = type(pending.node)._kind == "batch_node"
        batch = {} if here.item is None else {"item": here.item, "items": here.items}
        of_sets = f" of {here.param_sets}" if here.param_sets else ""
        return batch | {
            "title": shown(self._stepper.title) if self._stepper.title else "",
            "path": shown(here.path, 200),
            "id": here.path,
            "visit": here.visit,
            "set": "" if here.param_set is None else f"{here.param_set}{of_sets}",
            "params": texts.of(dict(here.params), SHORT) if here.params else "",
            "phase": here.phase,
            "is_end": here.is_end,
            "next": _next(here, hooks_of(pending.node).own),
            "called": here.called,
            "replayed": here.replayed,
            "number": entry.number,
            "note": shown(here.note, 300) if here.note else "",
            "failed": here.failed,
            "error": "" if here.error is None else f"{shown(class_name(here.error))}: {texts.of_error(here.error)}",
            "traceback": "" if here.error is None else shown(short_traceback(here.error), LONG, keep_lines=True),
            "output": shown(entry.output[-MAX_OUTPUT:], 2 * MAX_OUTPUT, keep_lines=True),
            "prep": texts.readable(pending.prep_res, LONG) if "prep_res" in shows else "",
            "exec": texts.readable(pending.exec_res, LONG) if "exec_res" in shows else "",
            "action": quoted(here.action) if "action" in shows else "",
            "edges": [shown(action) for action in pending.node.successors],
            "can_mock": "exec" in hooks,
            "can_go_to_item": is_batch and "exec" in hooks,
            "breaks": [[found.number, str(found)] for found in self._session.breakpoints],
            "stops": _stops(self._model, self._stepper),
        }

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
            elif do != "hello" and len(self._queue) < MAX_QUEUE:
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
        message = ""
        with on_interrupt(self._pause):
            while (content := self._next_command(message)) is not None:
                message = self._run(content)
                self.refresh()
                if message or self._stepper.error is not None:
                    with self._lock:
                        self._queue.clear()  # the other commands were meant for another place
        self._on_idle(self.still_id)

    def _next_command(self, message: str) -> dict[str, Any] | None:
        """Return the next command. If there is none, send the message of the last one and return None."""
        with self._lock:
            if self._queue:
                return self._queue.popleft()
            self._is_working = False
            self._message = message
            self._send_status()
            return None

    def _run(self, content: dict[str, Any]) -> str:
        """Run one command. Returns the error message, or ""."""
        self._session.echoes = False  # the widget shows the output; commands in a cell print it
        try:
            _command(self._stepper, content)
        except KeyError as exc:
            return f"{quoted(content.get('do'), 40)} was requested without {shown(exc)}"
        except BaseException as exc:  # whatever the command raised: the widget reports it and stays usable
            return error_text(exc, 600)
        finally:
            self._session.echoes = True
        return ""


def _command(stepper: Stepper, content: dict[str, Any]) -> None:
    do = content.get("do")
    buttons = {command.name for command in COMMANDS if command.key and command.name != "pause"}
    forms: dict[Any, Callable[[], Any]] = {
        "again": lambda: stepper.rerun(call_again=True),
        "goto": lambda: stepper.goto(content["number"]),
        "item": lambda: stepper.to_item(content["number"]),
        "set": lambda: stepper.set(_key(stepper, content["key"]), parsed(content["json"])),
        "delete": lambda: stepper.delete(_key(stepper, content["key"])),
        "force": lambda: stepper.force(content["action"] or None),
        "mock": lambda: stepper.mock(parsed(content["json"])),
        "break": lambda: _toggle(stepper, str(content["path"])),
        "unbreak": lambda: stepper.breakpoints.remove(content["number"]),
    }
    if do in forms:
        forms[do]()
    elif do in buttons:
        getattr(stepper, str(do))()


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
    return next((key for key in stepper._session.history.now.snapshot if _name(key) == name), name)


def _name(key: Any) -> str:
    return key if type(key) is str else repr(key)


def _toggle(stepper: Stepper, path: str) -> None:
    found = [b for b in stepper.breakpoints if b.node in (path, last_name(path)) and b.is_plain]
    for breakpoint in found:
        stepper.breakpoints.remove(breakpoint)
    if not found:
        stepper.breakpoints.add(path)


def _stops(model: GraphModel, stepper: Stepper) -> list[str]:
    """Return the nodes of the drawing that have a breakpoint of their own, by name or path."""
    wanted = {found.node for found in stepper.breakpoints if isinstance(found.node, str)}
    return [node.id for node in model.nodes if node.id in wanted or node.name in wanted]


def _next(here: Location, own: frozenset[str]) -> str:
    """Return what comes next, as text.

    Args:
        here: Where the stepper is.
        own: The hooks that the class defines.
    """
    if here.is_end:
        return "nothing: the run has ended"
    if here.item is not None:
        return "exec of the next item, if there is one"
    return next((hook for hook in here.boundary.next_hooks if hook in own), "the edge to the next node")


def _marks(model: GraphModel, history: History) -> dict[str, Any]:
    assert model.status is not None
    here = history.now.location
    marks: dict[str, dict[str, Any]] = {
        id: {"state": status.state, "text": ", ".join(status.notes)} for id, status in model.status.nodes.items()
    }
    for entry in history.line():
        if entry.counts["replayed"] and entry.location.path in marks:
            marks[entry.location.path]["replayed"] = True
    if not here.is_end:
        mark = marks.setdefault(here.path, {"state": "running", "text": ""})
        mark["here"] = True
        if here.error is not None:
            mark["state"] = "failed"
    return marks


def _keys(now: HistoryEntry, texts: ValueTexts) -> list[dict[str, Any]]:
    """Return a row for each key of ``shared``, with its value now and before the last step. Changed keys come first."""
    before = now.parent.snapshot if now.parent is not None else now.snapshot
    changed = {change.key: change for change in changes(before, now.snapshot)}
    rows = []
    for key in [*changed, *(key for key in now.snapshot if key not in changed)][:MAX_KEYS]:
        version, change = now.snapshot.get(key), changed.get(key)
        old = None if change is None else change.before
        how = "" if change is None else "new" if old is None else "gone" if version is None else "changed"
        rows.append(
            {
                "key": shown(_name(key), SHORT),
                "name": _name(key)[:1000],
                "how": how,
                "now": _text(key, version, texts),
                "before": _text(key, old, texts) if how in ("changed", "gone") else "",
                "json": _json(key, version),
                "by_reference": ", ".join(sorted(version.by_reference)) if version is not None else "",
            }
        )
    return rows


def _text(key: Any, version: Version | None, texts: ValueTexts) -> str:
    if version is None or not version.uses:  # it was evicted
        return ""
    return MASK if is_secret(key) else texts.readable(version.kept, LONG)


def _json(key: Any, version: Version | None) -> str:
    """Return a value as JSON, to be edited; "" if it has no JSON, is too long for that, or holds a secret."""
    if version is None or version.size > 100_000 or is_secret(key):
        return ""
    try:
        text = json.dumps(version.kept, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return ""
    if len(text) > LONG:
        return ""
    secrets: list[str] = []
    json.loads(text, object_pairs_hook=lambda pairs: secrets.extend(name for name, _ in pairs if is_secret(name)))
    return "" if secrets else text


def _places(history: History) -> list[dict[str, Any]]:
    """Return a row for each entry of all branches, at most `MAX_PLACES` around the current one."""
    on_line = {entry.number for entry in history.line()}
    entries = list(history.walk())
    index = next(n for n, (entry, _) in enumerate(entries) if entry is history.now)
    first = min(index - MAX_PLACES // 2, len(entries) - MAX_PLACES)
    rows = []
    for entry, depth in entries[max(0, first) : max(0, first) + MAX_PLACES]:
        there = entry.location
        keys = [] if entry.parent is None else changes(entry.parent.snapshot, entry.snapshot)
        item = "" if there.item is None else f", item {there.item}"
        rows.append(
            {
                "number": entry.number,
                "depth": depth,
                "on_line": entry.number in on_line,
                "here": entry is history.now,
                "evicted": entry.is_evicted,
                "text": f"{shown(there.path)}  visit {there.visit}{item}  {there.phase}",
                "how": ", ".join(how for how in ANSWERS if entry.counts[how]),
                "edited": shown(entry.edited, SHORT) if entry.edited else "",
                "failed": "" if there.error is None else f"{there.failed}: {shown(class_name(there.error))}",
                "changed": ", ".join(shown(_name(change.key), 30) for change in keys[:4]) or "no change",
            }
        )
    return rows
