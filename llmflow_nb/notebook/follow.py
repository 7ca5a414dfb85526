"""Show the progress of a run while it runs: as lines in a cell or a terminal, or as progress bars of the user.

A thread reads the record five times a second and draws its lines. So progress adds no work to the run, and a call that
blocks for a minute does not delay it.
"""

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from time import monotonic
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from ..core.errors import warn
from ..core.text import error_text
from ..runs.run import Run
from .frontend import has_kernel, is_terminal, publish
from .lines import Line, LineReader, bundle, one_line

__all__ = ["follow", "show_live"]

FIRST, EVERY = 1.0, 0.2
"""Seconds until something is shown, and between two updates."""
EVERY_GRAPH = 0.5
"""Seconds between two drawings of the graph of a run that is followed by its handle."""
PATIENCE = 0.5
"""Seconds that the end of a run waits while a bar is drawn."""


def follow(run: Run, progress: Any, *, is_updated: bool) -> Callable[[], None]:
    """Show the progress of a run from now on, and return the function that ends this.

    Args:
        run: The record of the run.
        progress: As in `progress.watcher`: True, "auto" or a callable that makes progress bars.
        is_updated: Whether to draw during the run; otherwise only once at its end.
    """
    if callable(progress):
        return _Followed(run, _Bars(progress), 0.0, always=True, is_updated=is_updated).end
    asked = progress is True
    view: View = _Notebook() if has_kernel() else _Terminal(asked)
    return _Followed(run, view, 0.0 if asked else FIRST, always=asked, is_updated=is_updated).end


# ---- views -----------------------------------------------------------------------------------------------------------


class View(Protocol):
    """Draw the progress of a run somewhere."""

    def draw(self, run: Run, lines: list[Line], *, last: bool) -> bool:
        """Replace the previous drawing. ``last``: the run has ended. Return whether anything was drawn."""


class _Notebook:
    """A few lines of HTML in the cell, updated by their display id. A saved notebook holds the last state."""

    def __init__(self) -> None:
        self.display_id = f"llmflow_nb-{os.urandom(16).hex()}"
        self.shown = False
        self.with_graph = False
        self._picture, self._drawn_at = "", 0.0

    def draw(self, run: Run, lines: list[Line], *, last: bool) -> bool:
        self.publish(self.data(run, lines, last=last), update=self.shown)
        return True

    def data(self, run: Run, lines: list[Line], *, last: bool) -> dict[str, str]:
        """Return the lines and, for the handle of a submitted run, the graph above them, redrawn twice a second."""
        if self not in (views := _SHOWN.setdefault(run, [])):
            views.append(self)
        data = bundle(run, lines, going=not last)
        if self.with_graph and (last or monotonic() - self._drawn_at > EVERY_GRAPH):
            from .run_graph import picture_of  # takes 20 ms to import, and few runs need it

            self._picture, _ = picture_of(run)
            self._drawn_at = monotonic()
        return data | {"text/html": self._picture + data["text/html"]} if self._picture else data

    def publish(self, data: dict[str, str], *, update: bool) -> None:
        self.shown = True
        publish(data, transient={"display_id": self.display_id}, update=update)


class _Terminal:
    """One line on the standard error: updated in place in a terminal, elsewhere written once at the end.

    With ``progress="auto"``, only runs with batches show a line. In an interactive terminal program, the line would
    overwrite the prompt.
    """

    def __init__(self, asked: bool) -> None:
        self._asked = asked
        self._width = 0

    def draw(self, run: Run, lines: list[Line], *, last: bool) -> bool:
        if not lines and not self._asked:
            return False
        text = one_line(run, lines, going=not last)
        if is_terminal():
            room = _columns() - 1
            if len(text) > room:
                text = one_line(run, lines, going=not last, short=True)[:room]
            sys.stderr.write(f"\r{text.ljust(self._width)}" + "\n" * last)
            self._width = len(text)
        elif last:
            sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
        return True


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 100
    except (OSError, ValueError):
        return 100


class _Bars:
    """Progress bars that a callable of the user makes, such as those of tqdm: one for each batch."""

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make
        self._bars: dict[str, tuple[Any, int]] = {}

    def draw(self, run: Run, lines: list[Line], *, last: bool) -> bool:
        for line in lines:
            bar, before = self._bars.get(line.path) or (self._make(total=line.total, desc=line.name), 0)
            if hasattr(bar, "total"):
                bar.total = line.total  # it grows with each visit
            bar.update(line.counts["done"] - before)
            self._bars[line.path] = bar, line.counts["done"]
        if last:
            for bar, _ in self._bars.values():
                bar.close()
        return False  # a bar does not say how a run ended


# ---- time of the drawings --------------------------------------------------------------------------------------------


class _Followed:
    """A run whose progress is shown, with its view."""

    def __init__(self, run: Run, view: View, first: float, *, always: bool, is_updated: bool = True) -> None:
        self.run = run
        self.view = view
        self.due = monotonic() + first
        self._always = always
        self._drawn = False
        self._ended = False
        self._is_retry = run.status != "running"  # rows of a run that has ended are retried
        self._reader = LineReader(run)
        self._lock = threading.Lock()
        self._context: Context = copy_context()  # holds the cell that the output belongs to
        if isinstance(view, _Notebook):
            _LIVE[run] = self
        if is_updated:
            with suppress(RuntimeError):  # no more threads can be started: only the end is drawn
                _Ticker.get().follow(self)

    def tick(self) -> None:
        """Draw in the ticker's thread, which must survive any error of a user's bar."""
        ended = not self._is_retry and self.run.status != "running"  # `end` may be called later, or never
        try:
            self._context.run(self._draw, last=ended)
        except BaseException:
            self._ended = True
        if self._ended:
            self._leave()

    def _leave(self) -> None:
        _Ticker.leave(self)
        if _LIVE.get(self.run) is self:
            del _LIVE[self.run]  # the value refers to the run, so the weak key would never be removed

    def end(self) -> None:
        """Draw for the last time, in the thread of the run, if anything was drawn before."""
        self._leave()
        if self._drawn or self._always:
            self._draw(last=True)
        self._ended = True
        for view in list(_SHOWN.get(self.run, ())):  # older displays, from before a retry or resume
            if view is not self.view:
                with suppress(Exception):  # the front end may be gone
                    view.draw(self.run, self._reader.lines(), last=True)

    def show(self) -> None:
        """Show it in this cell too, and update all displays from now on."""
        with self._lock:
            self._drawn = True
            assert isinstance(self.view, _Notebook)
            self.view.with_graph = True
            self.view.publish(self.view.data(self.run, self._reader.lines(), last=self._ended), update=False)

    def _draw(self, *, last: bool) -> None:
        if not self._lock.acquire(timeout=PATIENCE):
            _Ticker._shared = None  # its thread hangs too; the next run gets a new one
            self._give_up("drawing it takes too long")
            return
        try:
            if self._ended:
                return
            self._drawn = True
            self._ended = last
            is_drawn = self.view.draw(self.run, self._reader.lines(), last=last)
            self.run._is_seen |= last and is_drawn
        except KeyboardInterrupt:
            raise
        except BaseException as exc:  # an error of the user's bar or the front end must not end the run
            self._give_up(error_text(exc))
        finally:
            self._lock.release()

    def _give_up(self, why: str) -> None:
        self._ended = True
        text = f"progress is no longer shown: {why}"
        self.run._recorder.add_problem(text)
        with suppress(Exception):  # warnings may be errors, which must not end the run
            warn(text)


_LIVE: "WeakKeyDictionary[Run, _Followed]" = WeakKeyDictionary()
"""The runs whose progress is shown in a notebook."""
_SHOWN: "WeakKeyDictionary[Run, list[_Notebook]]" = WeakKeyDictionary()
"""All displays of a run, to update them when its rows are retried."""


def show_live(run: Run) -> None:
    """Show a run in the cell, and update the display until the run ends."""
    if run.status != "running":
        _Notebook().draw(run, LineReader(run).lines(), last=True)
        return
    followed = _LIVE.get(run)
    if followed is None:
        followed = _Followed(run, _Notebook(), EVERY, always=True)
    followed.show()


class _Ticker:
    """One thread that draws the progress of all runs. It sleeps while there are none."""

    _lock = threading.Lock()
    _shared: "_Ticker | None" = None

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._followed: dict[_Followed, None] = {}
        self._wake = threading.Event()

    @classmethod
    def get(cls) -> "_Ticker":
        with cls._lock:
            if cls._shared is None or cls._shared.pid != os.getpid():
                cls._shared = _Ticker()  # before its thread starts, which ends once it is not the shared one
                threading.Thread(target=cls._shared._work, name="llmflow_nb-progress", daemon=True).start()
            return cls._shared

    def follow(self, followed: _Followed) -> None:
        self._followed[followed] = None
        self._wake.set()

    @classmethod
    def leave(cls, followed: _Followed) -> None:
        if cls._shared is not None:
            cls._shared._followed.pop(followed, None)

    def _work(self) -> None:
        while _Ticker._shared in (self, None):
            self._wake.wait(EVERY if self._followed else None)
            self._wake.clear()
            now = monotonic()
            for followed in list(self._followed):
                if followed.due <= now:
                    followed.due = now + EVERY
                    followed.tick()
