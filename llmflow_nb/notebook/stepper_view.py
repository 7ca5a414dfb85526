"""The widget of a stepper: shows where it is, and asks it to go on.

All state is the stepper's. The graph is sent once; after each command the small things that have changed are. Commands
run one after the other in a thread, so that the kernel can answer meanwhile; what the front end shows is text.
"""

import json
import re
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import anywidget
import traitlets

from ..core.hooks import hooks_of
from ..core.text import MASK, class_name, error_text, is_secret, quoted, shown
from ..graph.model import GraphModel, graph_of
from ..graph.outline import outline_of
from ..graph.render import DrawingError
from ..stepper.history import Moment
from ..stepper.snapshots import Version, changes
from ..stepper.stepper import Stepper
from .interrupts import on_interrupt
from .progress import has_kernel, publish
from .run_graph import MAX_NODES, marked
from .values import ValueTexts

__all__ = ["StepperView", "view_of"]

STATIC = Path(__file__).parent / "static"
LONG, SHORT = 2_000, 120
"""Characters of a value that is unfolded, and of one that is not."""
LONGEST_QUEUE = 100
"""Commands that wait for the one in progress; further ones are dropped."""
MOST_PLACES, MOST_KEYS, MOST_OUTPUT = 300, 300, 10_000


class StepperView(anywidget.AnyWidget):
    """Shows one stepper, in as many places as it is displayed at."""

    _esm = STATIC / "stepper.js"
    _css = STATIC / "stepper.css"

    svg = traitlets.Unicode().tag(sync=True)
    outline = traitlets.Unicode().tag(sync=True)
    nodes = traitlets.Dict().tag(sync=True)
    """The paths of nodes, by the ids of their groups in the drawing."""
    place = traitlets.Dict().tag(sync=True)
    marks = traitlets.Dict().tag(sync=True)
    held: Any = traitlets.List().tag(sync=True)
    places: Any = traitlets.List().tag(sync=True)
    told = traitlets.Dict().tag(sync=True)
    """What changes while a command runs: whether one does, and what came of the last."""

    def __init__(self, stepper: Stepper) -> None:
        """Show a stepper."""
        super().__init__()
        self._stepper = stepper
        self._model = graph_of(stepper.root, max_nodes=MAX_NODES)
        self.still_id = ""
        self._lock = threading.RLock()
        self._queue: deque[dict[str, Any]] = deque()
        self._is_working = False
        self._answers, self._message = 0, ""
        stepper.listeners.append(self.refresh)
        self._tell()
        self._draw()
        self.refresh()
        self.on_msg(self._asked)

    def bundle(self) -> dict[str, Any]:
        """Return the form in which a front end knows the widget, and begin another picture beside it."""
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
        """Send what has changed since."""
        stepper, texts = self._stepper, ValueTexts()
        now = stepper.now
        with self.hold_sync():
            self.place = self._place(now, texts)
            self.marks = _marks(marked(self._model, stepper.record), stepper)
            self.held = _keys(stepper, now, texts)
            self.places = _places(stepper, texts)

    def _place(self, now: Moment, texts: ValueTexts) -> dict[str, Any]:
        place, pending = self._stepper.place, self._stepper.pending
        own = hooks_of(pending.node).own
        batch = {} if place.item is None else {"item": place.item, "items": place.items}
        return batch | {
            "title": shown(self._stepper.title) if self._stepper.title else "",
            "path": shown(place.path, 200),
            "id": place.path,
            "visit": place.visit,
            "set": ""
            if place.param_set is None
            else f"{place.param_set}{f' of {n}' if (n := place.param_sets) else ''}",
            "params": texts.of(dict(place.params), SHORT) if place.params else "",
            "phase": place.phase,
            "next": _next(place.phase, own, place.item is not None),
            "called": place.called,
            "replayed": place.replayed,
            "number": now.number,
            "note": shown(place.note, 300) if place.note else "",
            "failed": place.failed,
            "error": "" if place.error is None else f"{shown(class_name(place.error))}: {texts.of_error(place.error)}",
            "output": shown(now.output[-MOST_OUTPUT:], 2 * MOST_OUTPUT, keep_lines=True),
            "prep": texts.of(pending.prep_res, LONG) if place.phase not in ("before prep", "at the end") else "",
            "exec": texts.of(pending.exec_res, LONG) if place.phase in ("after exec", "after post") else "",
            "action": "" if place.phase not in ("after post", "at the end") else quoted(place.action),
            "edges": [shown(action) for action in pending.node.successors],
            "is_batch": type(pending.node)._kind == "batch_node",
            "breaks": [[found.number, str(found)] for found in self._stepper.breakpoints],
            "stops": _stops(self._model, self._stepper),
        }

    # ---- what is asked -----------------------------------------------------------------------------------------------

    def _asked(self, _: Any, content: Any, buffers: Any) -> None:
        """Take what the front end asks for. Comes in the kernel's thread, or in another one of it."""
        if not isinstance(content, dict):
            return
        do = content.get("do")
        with self._lock:
            self._answers += 1
            if do == "pause":
                self._pause()
            elif do != "hello" and len(self._queue) < LONGEST_QUEUE:
                self._queue.append(content)
                if not self._is_working:
                    threading.Thread(target=self._work, name="llmflow_nb-step", daemon=True).start()
                    self._is_working = True
                    self._message = ""
            self._tell()

    def _pause(self) -> None:
        """End the command in progress at the next boundary, and discard those that wait for it."""
        with self._lock:
            self._queue.clear()
            self._stepper.pause()
            if self._is_working:
                self._message = "stopping …"
            self._tell()

    def _tell(self) -> None:
        self.told = {"busy": self._is_working, "answers": self._answers, "message": self._message}

    def _work(self) -> None:
        """Run the commands in the order in which they were asked for, in a thread of its own."""
        message = ""
        with on_interrupt(self._pause):
            while (content := self._next_command(message)) is not None:
                message = self._do(content)
                self.refresh()
                if message or self._stepper.error is not None:
                    with self._lock:
                        self._queue.clear()  # the rest was meant for another place
        self._draw_still()

    def _next_command(self, message: str) -> dict[str, Any] | None:
        """Return the next command; None, having sent what the last one said, if there is none."""
        with self._lock:
            if self._queue:
                return self._queue.popleft()
            self._is_working = False
            self._message = message
            self._tell()
            return None

    def _do(self, content: dict[str, Any]) -> str:
        """Run one command, and return what it was refused with."""
        self._stepper.echoes = False  # the widget shows it; what is typed in a cell prints there
        try:
            _command(self._stepper, content)
        except KeyError as exc:
            return f"{quoted(content.get('do'), 40)} was asked for without {shown(exc)}"
        except BaseException as exc:  # of whatever the command came upon: the widget is to say it, and to go on
            return error_text(exc, 600)
        finally:
            self._stepper.echoes = True
        return ""

    def _draw_still(self) -> None:
        """Draw the picture anew that a saved notebook shows."""
        from .display import mimebundle

        if not has_kernel():
            return
        with suppress(Exception):  # a front end that is gone
            publish(mimebundle(self._stepper), transient={"display_id": self.still_id}, update=True)


def _command(stepper: Stepper, content: dict[str, Any]) -> None:
    do = content.get("do")
    simple: dict[Any, Callable[[], Any]] = {
        "into": stepper.into,
        "over": stepper.over,
        "out": stepper.out,
        "run": stepper.run,
        "back": stepper.back,
        "rerun": stepper.rerun,
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
    if do in simple:
        simple[do]()


def parsed(text: Any) -> Any:
    """Return what a text says in JSON.

    Raises:
        ValueError: It is none; says in which line and column.
    """

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    try:
        return json.loads(str(text), parse_constant=refuse)
    except json.JSONDecodeError as exc:
        raise ValueError(f"this is no JSON: {exc.msg}, in line {exc.lineno}, column {exc.colno}") from None


def _key(stepper: Stepper, name: Any) -> Any:
    """The key of ``shared`` that is shown by this name; a new one is that name."""
    return next((key for key in stepper.now.snapshot if _name(key) == name), name)


def _name(key: Any) -> str:
    return key if type(key) is str else repr(key)


def _toggle(stepper: Stepper, path: str) -> None:
    found = [
        b for b in stepper.breakpoints if b.node == path and b.when == "before" and b.visit is None and b.where is None
    ]
    if found:
        stepper.breakpoints.remove(found[0])
    else:
        stepper.breakpoints.add(path)


def _stops(model: GraphModel, stepper: Stepper) -> list[str]:
    """The nodes of the drawing that have a breakpoint of their own."""
    wanted = {found.node if isinstance(found.node, str) else None for found in stepper.breakpoints}
    return [node.id for node in model.nodes if node.id in wanted or node.name in wanted]


def _next(phase: str, own: frozenset[str], between: bool) -> str:
    """What the next hook is, in words."""
    if phase == "at the end":
        return "nothing: the run has ended"
    if between:
        return "exec of the next item, if there is one"
    after = {"before prep": ("prep", "exec", "post"), "after prep": ("exec", "post"), "after exec": ("post",)}
    return next((hook for hook in after.get(phase, ()) if hook in own), "the edge to the next node")


def _marks(model: GraphModel, stepper: Stepper) -> dict[str, Any]:
    assert model.look.marks is not None
    here = stepper.place
    marks: dict[str, dict[str, Any]] = {
        id: {"state": mark.state, "text": ", ".join(mark.notes)} for id, mark in model.look.marks.nodes.items()
    }
    for moment in stepper.line():
        if moment.counts.replayed and moment.place.path in marks:
            marks[moment.place.path]["replayed"] = True
    if not here.is_end:
        mark = marks.setdefault(here.path, {"state": "running", "text": ""})
        mark["here"] = True
        if here.error is not None:
            mark["state"] = "failed"
    return marks


def _keys(stepper: Stepper, now: Moment, texts: ValueTexts) -> list[dict[str, Any]]:
    """The keys of ``shared``: what they hold, and held before the last step. Those that changed come first."""
    before = now.parent.snapshot if now.parent is not None else now.snapshot
    changed = {change.key: change for change in changes(before, now.snapshot)}
    rows = []
    for key in [*changed, *(key for key in now.snapshot if key not in changed)][:MOST_KEYS]:
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
    return "" if version is None else MASK if is_secret(key) else texts.of(version.kept, LONG)


def _json(key: Any, version: Version | None) -> str:
    """A value as JSON, to be edited; "" if it is none, is too long for that, or holds a secret."""
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


def _places(stepper: Stepper, texts: ValueTexts) -> list[dict[str, Any]]:
    """All places of all branches, the latest of them."""
    on_line = {moment.number for moment in stepper.line()}
    rows = []
    for moment, depth in stepper.walk():
        place = moment.place
        counts = moment.counts
        how = ["called"] * bool(counts.called) + ["replayed"] * bool(counts.replayed) + ["mocked"] * bool(counts.mocked)
        keys = [] if moment.parent is None else changes(moment.parent.snapshot, moment.snapshot)
        rows.append(
            {
                "number": moment.number,
                "depth": depth,
                "on_line": moment.number in on_line,
                "here": moment is stepper.now,
                "gone": moment.checkpoint is None,
                "text": f"{shown(place.path)}  visit {place.visit}"
                + ("" if place.item is None else f", item {place.item}")
                + f"  {place.phase}",
                "how": ", ".join(how),
                "edited": shown(moment.edited, SHORT) if moment.edited else "",
                "failed": "" if place.error is None else f"{place.failed}: {shown(class_name(place.error))}",
                "changed": ", ".join(shown(_name(change.key), 30) for change in keys[:4]) or "no change",
            }
        )
    return rows[-MOST_PLACES:]


def view_of(stepper: Stepper) -> StepperView:
    """Return the widget of a stepper: the same one each time."""
    if stepper.view is None:
        stepper.view = StepperView(stepper)
    view: StepperView = stepper.view
    return view
