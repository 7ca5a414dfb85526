"""The requests of a stepper's widget: commands run in a thread, one after the other, and views at once.

Commands run in a thread so that the kernel can answer meanwhile.
"""

import json
import threading
from collections import deque
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Protocol

from ..core.text import error_text, quoted, shown
from ..core.traversal import last_name
from ..stepper.commands import COMMANDS
from ..stepper.stepper import Stepper
from . import stepper_state as state
from .interrupts import on_interrupt
from .lines import LineReader

__all__ = ["Display", "Request", "Requests"]

MAX_QUEUE = 100
"""Commands that wait for the one in progress. Further ones are discarded."""
EVERY = 0.25
"""Seconds between two reports of the progress of a command."""
BUTTONS = {command.name for command in COMMANDS if command.key}

Request = dict[str, Any]
"""A message of the front end: what to ``do``, and with what."""


class Display(Protocol):
    """The widget, as far as the requests need it.

    Attributes:
        status: Whether a command runs, and the message of the last one.
        work: The progress of a command that takes long; empty if none does.
    """

    status: Any
    work: Any

    def refresh(self) -> None:
        """Send what has changed."""

    def on_idle(self) -> None:
        """All requested commands have run."""


class Requests:
    """Runs what the front end requests."""

    def __init__(self, stepper: Stepper, display: Display, views: Mapping[Any, Callable[[Request], object]]) -> None:
        """Wait for requests.

        Args:
            stepper: Runs the commands.
            display: Shows their progress.
            views: The requests that change only what is shown, each with its function. They run at once.
        """
        self._stepper, self._display, self._views = stepper, display, views
        self._lock = threading.RLock()
        self._queue: deque[Request] = deque()
        self._is_working = False
        self._answers, self._message = 0, ""
        self._send_status()

    def receive(self, request: Request) -> None:
        """Answer a request. Runs in the kernel's thread, or in another one of the kernel."""
        do = request.get("do")
        with self._lock:
            self._answers += 1
            if do == "pause":
                self._pause()
            elif do in self._views:
                self._message = self._run(request, self._views[do])
            elif len(self._queue) < MAX_QUEUE:
                self._queue.append(request)
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
        self._display.status = {"busy": self._is_working, "answers": self._answers, "message": self._message}

    def _work(self) -> None:
        """Run the requested commands in order. This is the target of a thread."""
        message, ended = "", threading.Event()
        threading.Thread(target=self._report, args=[ended], name="llmflow_nb-report", daemon=True).start()
        with on_interrupt(self._pause):
            while (request := self._next_command(message)) is not None:
                message = self._run(request, self._command)
                if message or self._stepper.error is not None:
                    with self._lock:
                        self._queue.clear()  # the other commands were meant for another place
        ended.set()
        self._display.on_idle()

    def _report(self, ended: threading.Event) -> None:
        """Send the progress of the commands. This is the target of a thread."""
        reader, began = LineReader(self._stepper.record), monotonic()
        while not ended.wait(EVERY):
            lines = [line for line in reader.lines() if line.counts["done"] < line.counts["total"]][:3]
            progress = [
                [line.name, ", ".join(line.facts(going=True)), line.counts["done"], line.total] for line in lines
            ]
            self._display.work = {"seconds": round(monotonic() - began, 1), "lines": progress}
        self._display.work = {}

    def _next_command(self, message: str) -> Request | None:
        """Return the next command. If there is none, send the message of the last one and return None."""
        with self._lock:
            if self._queue:
                return self._queue.popleft()
            self._is_working = False
            self._message = message
            self._send_status()
            return None

    def _run(self, request: Request, run: Callable[[Request], object]) -> str:
        """Run a request. Returns the error message, or ""."""
        session = self._stepper._session
        session.echoes = False  # the widget shows the output; commands in a cell print it
        try:
            run(request)
        except KeyError as exc:
            return f"{quoted(request.get('do'), 40)} was requested without {shown(exc)}"
        except BaseException as exc:  # whatever the command raised: the widget reports it and stays usable
            return error_text(exc, 600)
        finally:
            session.echoes = True
        return ""

    def _command(self, request: Request) -> None:
        _command(self._stepper, request)
        if request.get("do") in ("break", "unbreak"):  # others refresh the view themselves
            self._display.refresh()


def _command(stepper: Stepper, request: Request) -> None:
    do = request.get("do")
    forms: dict[Any, Callable[[], Any]] = {
        "again": lambda: stepper.rerun(call_again=True),
        "goto": lambda: stepper.goto(request["number"]),
        "item": lambda: stepper.to_item(request["number"]),
        "set": lambda: stepper.set(_key(stepper, request["key"]), _given(request)),
        "delete": lambda: stepper.delete(_key(stepper, request["key"])),
        "force": lambda: stepper.force(request["action"] or None),
        "mock": lambda: stepper.mock(parsed(request["json"])),
        "break": lambda: _toggle(stepper, str(request["path"])),
        "unbreak": lambda: stepper.breakpoints.remove(request["number"]),
    }
    if do in forms:
        forms[do]()
    elif do in BUTTONS - {"pause"}:
        getattr(stepper, str(do))()


def _given(request: Request) -> Any:
    return request["text"] if type(request.get("text")) is str else parsed(request["json"])


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
