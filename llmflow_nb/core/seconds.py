"""Read a number of seconds from any form in which users, clients and endpoints write it.

Most values are an int, a float or a str. The modules of the other types are imported for the first such value, which
takes 4 ms.
"""

import math
import re
import time
from collections.abc import Callable
from typing import Any

LONGEST = 366 * 86_400.0
"""The maximum of a wait or a timeout in seconds, a year: the clocks of threads and loops refuse much longer ones."""

# At most 9 digits: a longer number is a date in seconds, or nonsense.
_NUMBER = r"[0-9]{1,9}(\.[0-9]{1,9})?"


def seconds_of(value: Any) -> float | None:
    """Return a number or a ``timedelta`` in seconds, as a plain int or float; None for anything else, and for NaN."""
    number = value if type(value) is int or type(value) is float else _plain_number(value)
    if number is None:
        return None
    try:
        return None if math.isnan(number) else number
    except OverflowError:  # an int that no float can hold
        return math.inf if number > 0 else -math.inf


def _plain_number(value: Any) -> float | None:
    """Return a number of another type than int and float, or a ``timedelta``, as an int or a float; else None.

    The type decides, not ``__class__``: a mock may claim to be an int.
    """
    from datetime import timedelta
    from decimal import Decimal
    from numbers import Integral, Real

    cls = type(value)
    if issubclass(cls, timedelta):
        return timedelta.total_seconds(value)
    if issubclass(cls, bool) or not issubclass(cls, Real | Decimal):
        return None
    try:
        return int(value) if issubclass(cls, Integral) else float(value)
    except (ValueError, TypeError):  # a signalling NaN, a number without a value
        return None
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def seconds_asked(value: Any, now: Callable[[], float] = time.time) -> float | None:
    """Return the seconds that an endpoint asks its clients to wait; None if the value names none.

    Args:
        value: A number of seconds, a number or an HTTP date as text (as in the header Retry-After), a ``timedelta`` or
            a ``datetime``. A date in the past counts as 0 seconds.
        now: The time from which a date counts, in seconds since the epoch.
    """
    from datetime import datetime

    seconds = seconds_of(value)
    if issubclass(type(value), str | datetime):
        seconds = number_in(value) if issubclass(type(value), str) else None
        if seconds is None:
            then = date_in(value)
            seconds = None if then is None else max(0.0, then - now())
    return seconds if seconds is not None and seconds >= 0 else None


def number_in(text: str) -> float | None:
    """Return the seconds of a text that is a number of at most nine digits; None for any other text."""
    return float(text) if re.fullmatch(_NUMBER, text.strip()) else None


def date_in(value: Any) -> float | None:
    """Return an HTTP date, or a ``datetime``, in seconds since the epoch; None for a text that is no date."""
    from email.utils import parsedate_to_datetime  # with its imports 15 ms

    try:
        return (parsedate_to_datetime(value) if isinstance(value, str) else value).timestamp()
    except (LookupError, TypeError, ValueError, OverflowError, OSError):  # also for a date that is too far away
        return None
