"""Handle the kernel's interrupt while a step of a widget is in progress.

A kernel takes SIGINT as an interrupt of the cell that it runs and ignores it between two cells. A step of the widget
runs in a thread between two cells, so the interrupt button would do nothing. While a step is in progress, and only
where the signal would be ignored, a handler of our own takes it.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..core.loaded import loaded

__all__ = ["on_interrupt"]

EVERY = 0.1
"""Seconds between two checks of the handler. The kernel installs its own for every message that it handles."""

_CALLBACKS: dict[object, tuple[asyncio.AbstractEventLoop, Callable[[], None]]] = {}


@contextmanager
def on_interrupt(callback: Callable[[], None]) -> Iterator[None]:
    """Call a function, on the kernel's event loop, for each interrupt that comes while no cell runs.

    Usable in any thread. Does nothing where there is no kernel.
    """
    loop = _kernel_loop()
    if loop is None:
        yield
        return
    token = object()
    _CALLBACKS[token] = loop, callback
    loop.call_soon_threadsafe(_watch, token, loop)
    try:
        yield
    finally:
        del _CALLBACKS[token]


def _kernel_loop() -> asyncio.AbstractEventLoop | None:
    ipython = loaded("IPython", "get_ipython")  # a kernel has imported it
    kernel = None if ipython is None else getattr(ipython.get_ipython(), "kernel", None)
    loop = getattr(getattr(kernel, "io_loop", None), "asyncio_loop", None)
    return loop if isinstance(loop, asyncio.AbstractEventLoop) else None


def _watch(token: object, loop: asyncio.AbstractEventLoop) -> None:
    """Install the handler where SIGINT is ignored, as long as the step lasts, and remove it afterwards."""
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread may change a handler
    handler = signal.getsignal(signal.SIGINT)
    if token in _CALLBACKS:
        if handler is signal.SIG_IGN:
            signal.signal(signal.SIGINT, _interrupted)
        loop.call_later(EVERY, _watch, token, loop)
    elif not _CALLBACKS and handler is _interrupted:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _interrupted(number: int, frame: Any) -> None:
    """Have the event loop make the calls: a signal handler may interrupt anything, so it must do little."""
    for loop, callback in list(_CALLBACKS.values()):
        loop.call_soon_threadsafe(callback)
