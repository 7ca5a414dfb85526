"""Values that consist of a text or a few numbers: how each type is written as JSON, and read."""

import base64
import datetime as dt
import pathlib
import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from .errors import RefusedError

__all__ = ["READ_SIMPLE", "SIMPLE", "b64"]


def b64(data: bytes) -> str:
    """Return bytes as text."""
    return base64.b64encode(data).decode()


def _zone(zone: dt.tzinfo | None) -> Any:
    if zone is None:
        return None
    if type(zone) is dt.timezone:
        name = zone.tzname(None)
        is_default = name == dt.timezone(zone.utcoffset(None)).tzname(None)
        return [zone.utcoffset(None).total_seconds(), None if is_default else name]
    if type(zone) is ZoneInfo and zone.key is not None:
        return zone.key
    raise RefusedError(f"a time zone of the class {type(zone).__qualname__} cannot be written; use zoneinfo.ZoneInfo")


def _zone_of(found: Any) -> dt.tzinfo | None:
    if isinstance(found, list):
        seconds, name = found
        offset = dt.timedelta(seconds=seconds)
        if name is None:
            return dt.UTC if not offset else dt.timezone(offset)
        return dt.timezone(offset, name)
    return None if found is None else ZoneInfo(found)


def _moment(value: Any) -> Any:
    return [value.replace(tzinfo=None, fold=0).isoformat(), _zone(value.tzinfo), value.fold]


def _read_moment(cls: Any) -> Callable[[Any], Any]:
    return lambda found: cls.fromisoformat(found[0]).replace(tzinfo=_zone_of(found[1]), fold=found[2])


SIMPLE: dict[type, tuple[str, Callable[[Any], Any], Callable[[Any], Any]]] = {
    bytes: ("bytes", b64, base64.b64decode),
    bytearray: ("bytearray", b64, lambda found: bytearray(base64.b64decode(found))),
    complex: ("complex", lambda v: [v.real, v.imag], lambda found: complex(*found)),
    range: ("range", lambda v: [v.start, v.stop, v.step], lambda found: range(*found)),
    slice: ("slice", lambda v: [v.start, v.stop, v.step], lambda found: slice(*found)),
    type(Ellipsis): ("ellipsis", lambda _: None, lambda _: ...),
    Decimal: ("decimal", str, Decimal),
    Fraction: ("fraction", str, Fraction),
    UUID: ("uuid", str, UUID),
    dt.datetime: ("datetime", _moment, _read_moment(dt.datetime)),
    dt.time: ("time", _moment, _read_moment(dt.time)),
    dt.date: ("date", dt.date.isoformat, dt.date.fromisoformat),
    dt.timedelta: (
        "timedelta",
        lambda value: [value.days, value.seconds, value.microseconds],
        lambda v: dt.timedelta(*v),
    ),
    dt.timezone: ("zone", _zone, _zone_of),
    ZoneInfo: ("zone", _zone, _zone_of),
    pathlib.PosixPath: ("path", str, pathlib.Path),
    pathlib.WindowsPath: ("path", str, pathlib.Path),
    pathlib.PurePosixPath: ("posix path", str, pathlib.PurePosixPath),
    pathlib.PureWindowsPath: ("windows path", str, pathlib.PureWindowsPath),
    re.Pattern: ("pattern", lambda v: [v.pattern, v.flags], lambda found: re.compile(*found)),
}
READ_SIMPLE = {tag: read for tag, _, read in SIMPLE.values()}
