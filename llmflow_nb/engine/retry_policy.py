"""When a failed attempt of ``exec`` is followed by another one."""

from typing import Any

from ..core.errors import warn
from ..core.seconds import LONGEST, seconds_asked, seconds_of
from ..core.text import quoted

__all__ = ["MAX_RETRY_AFTER", "seconds_before_retry"]

MAX_RETRY_AFTER = 120.0
"""The longest ``retry_after``, in seconds, that a call waits for."""


def seconds_before_retry(error: Exception, attempts: int, max_retries: int, wait: Any, path: str) -> float | None:
    """Return the seconds to wait before the next attempt, or None if there is none.

    The node's ``wait`` says how long. An error may ask for more in ``retry_after``, since an attempt before that would
    fail too. If it asks for more than `MAX_RETRY_AFTER`, the call fails now.

    Args:
        error: What the last attempt raised.
        attempts: How many attempts were made.
        max_retries: How many may be made.
        wait: The setting of the node: seconds, or a function of the number of attempts (a backoff).
        path: The node, for the warning.

    Raises:
        Exception: What the ``wait`` function raised.
    """
    if attempts >= max_retries:
        return None
    seconds = max(_seconds_of_setting(error, attempts, wait, path), 0)
    asked = _retry_after(error)
    if asked > seconds:
        return asked if asked <= MAX_RETRY_AFTER else None
    return min(seconds, LONGEST)


def _seconds_of_setting(error: Exception, attempts: int, wait: Any, path: str) -> float:
    try:
        given = wait(attempts) if callable(wait) else wait
    except Exception as exc:
        raise exc from error
    seconds = seconds_of(given)
    if seconds is None:
        seconds = seconds_asked(given)
    if seconds is None:
        what = f"{path}: its wait function returned {quoted(given)}"
        warn(f"{what}, which is no number of seconds; the next attempt follows at once.")
        return 0
    return seconds


def _retry_after(error: Exception) -> float:
    """Return the seconds in an error's ``retry_after``; 0 if there are none, or the name means something else."""
    try:
        return seconds_asked(getattr(error, "retry_after", None)) or 0.0
    except Exception:  # a property of the user's class, which must not replace the error itself
        return 0.0
