"""Find out where output is shown, and send it there."""

import os
import sys
from typing import Any

from ..core.loaded import loaded

__all__ = ["cell_name", "has_kernel", "is_static", "is_svg_only", "is_terminal", "publish"]


def has_kernel() -> bool:
    """Whether this process is a kernel, with a front end to show output."""
    ipython = loaded("IPython", "get_ipython")  # a kernel has imported it
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


def cell_name(file: str) -> str:
    """Return the cell that code with this file name was written in, such as "Cell In[3]"; "" for a file."""
    ipython = loaded("IPython", "get_ipython")
    shell = None if ipython is None else ipython.get_ipython()
    return "" if shell is None else " ".join(shell.compile.format_code_name(file) or ())


def is_terminal() -> bool:
    """Whether the standard error is a terminal."""
    try:
        return bool(sys.stderr.isatty())
    except (AttributeError, ValueError):  # there is none, it was closed, or a logger replaces it
        return False


def is_static() -> bool:
    """Whether every display has to be the same each time, for nbval: without times, and without updates."""
    return "static" in _display_words()


def is_svg_only() -> bool:
    """Whether graphs are shown without their HTML form, for viewers that show HTML but no images in it."""
    return "svg" in _display_words()


def _display_words() -> list[str]:
    return [word.strip() for word in os.environ.get("LLMFLOW_NB_DISPLAY", "").lower().split(",")]


def publish(data: dict[str, str], **options: Any) -> None:
    """Show something in the cell."""
    from IPython.display import publish_display_data

    publish_display_data(data, **options)  # type: ignore[no-untyped-call]
