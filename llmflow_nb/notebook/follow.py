"""Show the progress of a run while it runs: as lines in a cell or a terminal, or as progress bars of the user.

A thread reads the record five times a second and draws the lines that it finds. So progress adds no work to the run, a
call that blocks for a minute does not delay it, and a run that takes less than a second shows nothing.
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
from .frontend import has_kernel, is_static, is_terminal, publish
from .lines import Line, LineReader, bundle, bundle_of, one_line

__all__ = ["follow", "show_live"]

FIRST, EVERY = 1.0, 0.2
"""Seconds until something is shown, and between two updates."""
EVERY_GRAPH = 0.5
"""Seconds between two drawings of the graph of a run that is followed by its handle."""
PATIENCE = 0.5
"""Seconds that the end of a run waits for a bar that is being drawn."""


def follow(run: Run, progress: Any) -> Callable[[], None]:
    """Show the progress of a run from now on, and return the function that ends this.

    Args:
        run: The record of the run.
        progress: As in `progress.watcher`: True, "auto" or a callable that makes progress bars.
    """
    if callable(progress):
        return _Followed(run, _Bars(progress), 0.0, always=True).end
    asked = progress is True
    view: View = _Notebook() if has_kernel() else _Terminal(asked)
    return _Followed(run, view, 0.0 if asked else FIRST, always=asked).end


# ---- who draws it ----------------------------------------------------------------------------------------------------


class View(Protocol):
    """Draws how far a run is."""

    def draw(self, run: Run, lines: list[Line], *, last: bool) -> bool:
        """Draw it, over what was drawn before. ``last``: the run has ended. Return whether anything was drawn."""


class _Notebook:
    """A few lines of HTML in the cell, drawn over by their display id; a saved notebook holds the last state."""

    def __init__(self) -> None:
        self.display_id = f"llmflow_nb-{os.urandom(16).hex()}"
        self.shown = False
        self.with_graph = False
        self._picture, self._drawn_at = "", 0.0

    def draw(self, run: Run, lines: list[Line], *, last: bool) -> bool:
        self.publish(self.data(run, lines, last=last), update=self.shown)
        return True

    def data(self, run: Run, lines: list[Line], *, last: bool) -> dict[str, str]:
        """Return what is shown: the lines, and for a handle the graph above them, drawn anew twice a second."""
        if self not in (views := _SHOWN.setdefault(run, [])):
            views.append(self)
        data = bundle(run, lines, going=not last)
        if self.with_graph and (last or monotonic() - self._drawn_at > EVERY_GRAPH):
            from .run_graph import picture_of  # 20 ms, which few runs need

            self._picture, _ = picture_of(run)
            self._drawn_at = monotonic()
        return data | {"text/html": self._picture + data["text/html"]} if self._picture else data

    def publish(self, data: dict[str, str], *, update: bool) -> None:
        self.shown = True
        publish(data, transient={"display_id": self.display_id}, update=update)


class _Terminal:
    """One line on the standard error: drawn over in a terminal, elsewhere only the last one.

    Where nobody asked for it, only of a run with batches: it would be drawn over the prompt of a chat.
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
    """Bars of the user's own making, such as those of tqdm: one for each batch."""

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make
        self._bars: dict[str, tuple[Any, int]] = {}

    def draw(self, run: Run, lines: list[Line], *, last: bool) -> bool:
        for line in lines:
            bar, before = self._bars.get(line.path) or (self._make(total=line.total, desc=line.name), 0)
            if hasattr(bar, "total"):
                bar.total = line.total  # it grows, where there are several visits
            bar.update(line.done - before)
            self._bars[line.path] = bar, line.done
        if last:
            for bar, _ in self._bars.values():
                bar.close()
        return False  # a bar does not say how a run ended


# ---- when it is drawn ------------------------------------------------------------------------------------------------


class _Followed:
    """A run that is followed, and the view that shows it."""

    def __init__(self, run: Run, view: View, first: float, *, always: bool) -> None:
        self.run = run
        self.view = view
        self.due = monotonic() + first
        self._always = always
        self._drawn = False
        self._ended = False
        self._again = run.status != "running"  # rows of a run that has ended are called again
        self._reader = LineReader(run)
        self._lock = threading.Lock()
        self._context: Context = copy_context()  # says which cell the output belongs to
        if isinstance(view, _Notebook):
            _LIVE[run] = self
        if not is_static():
            with suppress(RuntimeError):  # no further thread to be had: then only the end is drawn
                _Ticker.get().follow(self)

    def tick(self) -> None:
        """Draw, in the ticker's thread, which has to go on whatever a bar of the user's raises."""
        ended = not self._again and self.run.status != "running"  # nobody may call `end`, or not at once
        try:
            self._context.run(self._draw, last=ended)
        except BaseException:
            self._ended = True
        if self._ended:
            self._leave()

    def _leave(self) -> None:
        _Ticker.leave(self)
        if _LIVE.get(self.run) is self:
            del _LIVE[self.run]  # it holds the run, so the weak key would never go

    def end(self) -> None:
        """Draw for the last time, if anything was drawn: in the thread of the run, which has ended."""
        self._leave()
        if self._drawn or self._always:
            self._draw(last=True)
        self._ended = True
        for view in list(_SHOWN.get(self.run, ())):  # those of before rows were called again, or the run resumed
            if view is not self.view:
                with suppress(Exception):  # a front end that is gone
                    view.draw(self.run, self._reader.lines(), last=True)

    def show(self) -> None:
        """Show it in this cell too; what follows is drawn in all places."""
        with self._lock:
            self._drawn = True
            assert isinstance(self.view, _Notebook)
            self.view.with_graph = True
            self.view.publish(self.view.data(self.run, self._reader.lines(), last=self._ended), update=False)

    def _draw(self, *, last: bool) -> None:
        if not self._lock.acquire(timeout=PATIENCE):
            _Ticker.forget()  # which hangs with it
            self._give_up("it has hung for some time")
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
        except BaseException as exc:  # the user's bar, or a front end that is gone: the run goes on
            self._give_up(error_text(exc))
        finally:
            self._lock.release()

    def _give_up(self, why: str) -> None:
        self._ended = True
        text = f"progress is not shown any more: {why}"
        self.run.problem(text)
        with suppress(Exception):  # where warnings are errors: the run is more than its progress
            warn(text)


_LIVE: "WeakKeyDictionary[Run, _Followed]" = WeakKeyDictionary()
"""Those that are shown in a notebook."""
_SHOWN: "WeakKeyDictionary[Run, list[_Notebook]]" = WeakKeyDictionary()
"""All displays of a run, to draw them again when its rows are called again."""


def show_live(run: Run) -> None:
    """Show a run in the cell, and go on showing it where that can be; until it has ended."""
    if not has_kernel() or is_static():
        publish(bundle_of(run))
        return
    if run.status != "running":
        _Notebook().draw(run, LineReader(run).lines(), last=True)
        return
    followed = _LIVE.get(run)
    if followed is None:
        followed = _Followed(run, _Notebook(), EVERY, always=True)
    followed.show()


class _Ticker:
    """One thread for all runs that are followed. It sleeps while there are none."""

    _lock = threading.Lock()
    _shared: "_Ticker | None" = None

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._followed: dict[_Followed, None] = {}
        self._wake = threading.Event()
        self._asleep = True

    @classmethod
    def get(cls) -> "_Ticker":
        with cls._lock:
            if cls._shared is None or cls._shared.pid != os.getpid():
                cls._shared = _Ticker()  # and only then start it, for it works as long as it is the one
                threading.Thread(target=cls._shared._work, name="llmflow_nb-progress", daemon=True).start()
            return cls._shared

    def follow(self, followed: _Followed) -> None:
        self._followed[followed] = None
        if self._asleep or followed.due - monotonic() < EVERY:
            self._wake.set()

    @classmethod
    def forget(cls) -> None:
        """Leave the thread to itself; the next run that is followed gets another."""
        cls._shared = None

    @classmethod
    def leave(cls, followed: _Followed) -> None:
        if cls._shared is not None:
            cls._shared._followed.pop(followed, None)

    def _work(self) -> None:
        while _Ticker._shared in (self, None):
            self._asleep = True  # and only then look, or a run could come in between and wake nobody
            self._asleep = not self._followed
            self._wake.wait(None if self._asleep else EVERY)
            self._wake.clear()
            now = monotonic()
            for followed in list(self._followed):
                if followed.due <= now:
                    followed.due = now + EVERY
                    followed.tick()
