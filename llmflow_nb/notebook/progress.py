"""Decide whether and where the progress of a run is shown, from the argument ``progress`` of `run`.

Nothing is imported for drawing here: every run asks, and a run in a script shows nothing.
"""

from collections.abc import Callable
from typing import Literal

from ..core.errors import SettingError
from ..core.text import quoted
from ..runs.run import Run, Watch
from .frontend import has_kernel, is_static, is_terminal

__all__ = ["Progress", "watcher"]

Progress = bool | Literal["auto"] | Callable[..., object]
"""The values that ``run(progress=)`` takes."""


def watcher(progress: Progress) -> Watch | None:
    """Return a function that shows the progress of a run; None if none is shown.

    Raises:
        SettingError: ``progress`` is not one of the allowed values.
    """
    if progress is False:
        return None
    if isinstance(progress, str) and progress == "auto":
        if not (has_kernel() or is_terminal()) or is_static():
            return None
    elif progress is not True and not callable(progress):
        raise SettingError(f"progress={quoted(progress)}: it must be True, False, 'auto', or a callable such as tqdm.")

    is_updated = not is_static()  # asked here, since a submitted run starts later

    def watch(run: Run) -> Callable[[], None]:
        from .follow import follow  # 16 ms, which a script that shows nothing does not pay

        return follow(run, progress, is_updated=is_updated)

    return watch
