"""Decide whether and when a failed attempt of ``exec`` is retried."""

from typing import Any

from ..core.errors import warn
from ..core.seconds import LONGEST, seconds_asked, seconds_of
from ..core.text import quoted

__all__ = ["MAX_RETRY_AFTER", "seconds_before_retry"]

MAX_RETRY_AFTER = 120.0
"""The longest ``retry_after``, in seconds, that a call waits for. If an error asks for more, the call fails."""


def seconds_before_retry(error: Exception, attempts: int, max_retries: int, wait: Any, path: str) -> float | None:
    """Return the seconds to wait before the next attempt, or None if there is none.

    It is the longer one of the node's ``wait`` and the ``retry_after`` of the error, if it has one.

    Args:
        error: What the last attempt raised.
        attempts: The number of attempts so far.
        max_retries: The largest number of attempts.
        wait: The node's setting: seconds, or a function of the number of attempts (a backoff).
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
        what = f"{path}: the wait function returned {quoted(given)}"
        warn(f"{what}, which is not a number of seconds; the next attempt starts at once.")
        return 0
    return seconds


def _retry_after(error: Exception) -> float:
    """Return the seconds of an error's ``retry_after``; 0 if it has none, or the attribute is something else."""
    try:
        return seconds_asked(getattr(error, "retry_after", None)) or 0.0
    except Exception:  # raised by a property of the user's class; it must not replace the error itself
        return 0.0
