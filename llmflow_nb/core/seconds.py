"""Read a number of seconds from whatever users, clients and endpoints write it as."""

import math
import re
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

__all__ = ["LONGEST", "date_in", "number_in", "seconds_asked", "seconds_of"]

LONGEST = 366 * 86_400.0
"""Seconds that a wait or a timeout has at most, a year: the clocks of threads and loops refuse much longer ones."""

# At most 9 digits: more are no seconds from now, but a date in seconds, or nonsense.
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


def seconds_of(value: Any) -> float | None:
    """Return a number or a ``timedelta`` in seconds, as a plain int or float; None for anything else, and for NaN.

    The type counts, and not what a value says of itself: a mock may claim to be an int.
    """
    cls = type(value)
    if issubclass(cls, timedelta):
        return float(timedelta.total_seconds(value))
    if issubclass(cls, bool) or not issubclass(cls, Real | Decimal):
        return None
    if issubclass(cls, Integral):
        value = int(value)
    try:
        seconds = float(value)
    except (ValueError, TypeError):  # a signalling NaN, a number without a value
        return None
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    if seconds != seconds:
        return None
    return value if issubclass(cls, Integral) else seconds


def seconds_asked(value: Any, now: Callable[[], float] = time.time) -> float | None:
    """Return for how many seconds an endpoint asks to be left alone; None if the value does not say.

    Args:
        value: A number of seconds, a number or an HTTP date as text (as in the header Retry-After), a ``timedelta`` or
            a ``datetime``. Of a date in the past it is 0.
        now: The time from which a date counts, in seconds since the epoch.
    """
    cls = type(value)
    seconds = seconds_of(value)
    if issubclass(cls, str | datetime):
        seconds = number_in(value) if issubclass(cls, str) else None
        if seconds is None:
            then = date_in(value)
            seconds = None if then is None else max(0.0, then - now())
    return seconds if seconds is not None and seconds >= 0 else None


def number_in(text: str) -> float | None:
    """Return the seconds of a text that is a number of at most nine digits; None for any other text."""
    return float(text) if _NUMBER.fullmatch(text.strip()) else None


def date_in(value: Any) -> float | None:
    """Return an HTTP date, or a ``datetime``, in seconds since the epoch; None for a text that is no date."""
    from email.utils import parsedate_to_datetime  # with its imports 15 ms, for what few runs need

    try:
        return (parsedate_to_datetime(value) if isinstance(value, str) else value).timestamp()
    except (LookupError, TypeError, ValueError, OverflowError, OSError):  # also of a date that is too far off
        return None
