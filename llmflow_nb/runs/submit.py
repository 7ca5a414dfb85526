"""Run in the background: a thread drives the run, and a handle follows, awaits and stops it."""

import asyncio
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from contextvars import copy_context
from time import monotonic
from typing import Any

from ..core.api.display import ShownLive
from ..core.errors import line_of_caller, warn_at
from ..core.kept_errors import copy_without_callers
from ..core.node import BaseNode
from ..core.text import error_text, shown
from ..engine.drivers.loop import POLL_SECONDS
from ..engine.drivers.sync import drive
from ..engine.limiter import HELD
from ..engine.stop import Stop
from .options import RunOptions
from .run import Run
from .start import Recorded

__all__ = ["STOP_WITHIN", "Submitted", "submit"]

STOP_WITHIN = 1.0
"""Seconds that `Submitted.stop` waits for the run to end."""
CANCELLED_WITHIN = 0.6
"""Seconds that a cancelled ``await`` waits for the run to end: an interrupt has to return within a second."""


class Submitted(ShownLive):
    """A run in the background. As the last line of a cell it shows its progress until it ends.

    If the run fails and nobody reads its record before this object is discarded, a `FlowWarning` says so.

    Attributes:
        run: The record, from the start on.
    """

    _shown_as = "submitted"
    _has_started = False

    def __init__(self, recorded: Recorded, stop: Stop) -> None:
        """Start the thread."""
        self._recorded = recorded
        self._line = line_of_caller()
        self._stop = stop
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], object]] = []
        self._has_driver = threading.Lock()
        context = copy_context()
        context.run(HELD.set, ())  # the call that submits this run does not wait for it
        thread = threading.Thread(
            target=context.run, args=(self._drive,), name=f"llmflow_nb-run-{recorded.record.name}", daemon=True
        )
        try:
            recorded.show_progress()  # here, and not in the thread, so that a display of this object finds it
            recorded.publish()
            thread.start()
        except BaseException:  # nobody gets the handle; after an interrupt it is unknown whether the thread has started
            stop.request()
            self._drive()
            raise
        self._has_started = True

    def __del__(self) -> None:
        """Warn of a failure that nobody has seen in the live display, by awaiting, or in the record."""
        run = self._recorded.record
        if self._has_started and run.error is not None and run.status != "stopped" and not run._is_seen:
            what = f"The submitted run of {shown(run.name)} failed, and its record was never read"
            warn_at(
                self._line,
                f"{what}: {error_text(run.error)}. Await what submit() returned, or read its .run.",
            )

    @property
    def run(self) -> Run:
        """The record, from the start on."""
        self._recorded.record._is_seen = True
        return self._recorded.record

    def __repr__(self) -> str:
        """Summarize the run in a line."""
        return repr(self.run).replace("<Run", "<Submitted", 1)

    def _drive(self) -> None:
        if not self._has_driver.acquire(blocking=False):
            return
        try:
            with suppress(BaseException), self._recorded as recorded:  # the record has the error, and `await` raises it
                recorded.notify_started()
                drive(recorded.position, recorded.setup)
        finally:
            with self._lock:
                self._ended.set()
                callbacks = self._callbacks
            for callback in callbacks:
                with suppress(RuntimeError):  # the loop that awaited is closed
                    callback()

    @property
    def done(self) -> bool:
        """Whether the run has ended. ``run.status`` says how."""
        return self._ended.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end, and return whether the run has ended. An interrupt of the waiting cell stops the run.

        Args:
            timeout: Seconds. None: no limit.
        """
        until = None if timeout is None else monotonic() + timeout
        try:
            while until is None or until - monotonic() > POLL_SECONDS:
                if self._ended.wait(POLL_SECONDS):
                    return True
            return self._ended.wait(max(0.0, until - monotonic()))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> bool:
        """Stop the run. Nothing more is called, and the record keeps all results. Return whether the run has ended.

        Waits at most one second. If a ``prep`` or ``post`` blocks, the run ends after it. A blocking ``exec`` cannot be
        stopped: it ends by itself, its result is dropped, and ``run.abandoned`` counts it.
        """
        self._stop.request()
        return self._ended.wait(STOP_WITHIN)

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait without blocking the event loop, and return the last action.

        Cancelling the wait stops the run, and so does an interrupt of the cell that awaits it.

        Raises:
            asyncio.CancelledError: The wait was cancelled, or the cell interrupted.
            StoppedError: The run was stopped.
            Exception: What the run failed with.
        """
        return self._outcome().__await__()

    async def _outcome(self) -> Any:
        loop = asyncio.get_running_loop()
        ended = loop.create_future()

        def set_ended() -> None:
            if not ended.done():
                ended.set_result(None)

        with self._lock:
            if self._ended.is_set():
                set_ended()
            else:
                self._callbacks.append(lambda: loop.call_soon_threadsafe(set_ended))
        try:
            while not ended.done():
                # A kernel's interrupt handler only adds a callback to the loop, which a sleeping loop does not notice.
                await asyncio.wait([ended], timeout=POLL_SECONDS)
        except BaseException as exc:
            self._stop.request()
            if not isinstance(exc, GeneratorExit):  # a coroutine that is being closed cannot wait
                await asyncio.wait([ended], timeout=CANCELLED_WITHIN)
            raise
        if self.run.error is not None:
            raise copy_without_callers(self.run.error)
        return self.run.action


def submit(node: BaseNode, shared: Any, options: RunOptions) -> Submitted:
    """Run a node in the background."""
    stop = options.stop = Stop()
    try:
        return Submitted(Recorded(node, shared, options), stop)
    except BaseException:  # an interrupt: nobody gets the handle
        stop.request()
        raise
