"""The settings of nodes, flows and limiters: which values are valid, and how a node stores them."""

import inspect
from collections.abc import Callable
from typing import Any

from .errors import SettingError
from .seconds import LONGEST, seconds_of
from .text import class_name, quoted, text_of


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number. True is not a whole number here, though Python counts it as 1."""
    cls = type(value)
    if issubclass(cls, int):
        return not issubclass(cls, bool)
    from numbers import Integral  # 1 ms, for integers of numpy and the like

    return issubclass(cls, Integral)


def _count(value: Any) -> int:
    if not is_whole(value) or not value >= 1:
        raise ValueError
    return int(value)


def _wait(value: Any) -> Any:
    if seconds_of(value) is None and callable(value) and _takes_an_attempt(value):
        return value
    seconds = _seconds(value)
    if seconds > LONGEST:
        raise ValueError
    return seconds


def _takes_an_attempt(function: Any) -> bool:
    """Return whether a function can be called with one argument, and is not ``async``."""
    if inspect.iscoroutinefunction(function):
        return False
    try:
        inspect.signature(function).bind(1)
    except TypeError:
        return False
    except Exception:  # it has no signature, like many builtins
        return True
    return True


def _seconds(value: Any) -> float:
    seconds = seconds_of(value)
    if seconds is None or not seconds >= 0:
        raise ValueError
    return seconds


def _positive_seconds(value: Any) -> float:
    seconds = _seconds(value)
    if seconds == 0:
        raise ValueError
    return seconds


def _limiter(value: Any) -> Any:
    if not callable(inspect.getattr_static(type(value), "request", None)):
        raise ValueError
    return value


def _on_error(value: Any) -> str:
    text = _text(value)
    if text not in ("raise", "keep"):
        raise ValueError
    return text


def _flag(value: Any) -> bool:
    cls = type(value)
    if cls is not bool and not (cls.__module__ == "numpy" and cls.__name__ in ("bool", "bool_")):
        raise ValueError
    return bool(value)


def _text(value: Any) -> str:
    if not issubclass(type(value), str) or not text_of(value):
        raise ValueError
    return text_of(value)


def _or_none(plain: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else plain(value)


SETTINGS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "name": (_or_none(_text), "a non-empty string"),
    "max_retries": (_count, "1 (try once) or more: it counts attempts, not repeats"),
    "wait": (_wait, "seconds, from 0 to a year, or a function of the attempt"),
    "timeout": (_or_none(_positive_seconds), "seconds, more than 0, or None for no limit"),
    "limiter": (_or_none(_limiter), "a Limiter or None"),
    "max_concurrency": (_or_none(_count), "1 or more, or None for no limit"),
    "on_error": (_on_error, "'raise' or 'keep'"),
    "keep_items": (_flag, "True or False"),
    "volatile": (_flag, "True or False"),
    "strict": (_flag, "True or False"),
    "max_steps": (_or_none(_count), "1 or more, or None for no limit"),
    "item_key": (_or_none(_text), "a non-empty string"),
    "grace": (_seconds, "seconds, 0 or more"),
}
"""For each setting: a function that returns its plain Python value or raises ValueError, and the values it may have."""


NOT_SETTINGS = frozenset(
    {"params", "successors", "name", "start_node", "last_run", "cur_retry", "items", "overwritten"}
)
"""Attributes that say what a node is, or that the library sets."""


def settable(node: Any) -> list[str]:
    """Return the names of the attributes of a node that a user may set for one run: its settings and its own ones."""
    own, cls = vars(node), type(node)
    names = (name for name in dir(node) if not (name.startswith("_") or name in NOT_SETTINGS))
    return [name for name in names if name in own or not callable(getattr(cls, name, None))]


def keep_settings(node: Any, **settings: Any) -> None:
    """Check settings and store them as attributes.

    A value that the class has already is not stored: a node with few attributes is cheaper to copy. A class may have
    its own value, such as ``max_concurrency = 8`` in its body. It holds unless an argument differs from the library's
    default.

    Raises:
        SettingError: It names the class, the setting, and the values it may have.
    """
    cls = type(node)
    for setting, given in settings.items():
        value = check_setting(node, setting, given)
        of_class = getattr(cls, setting)
        if value is of_class or (setting == "name" and value is None):
            continue
        library_class = next(base for base in cls.__mro__ if base.__dict__.get("_library_class"))
        default = getattr(library_class, setting)
        if of_class is default or value != default:
            setattr(node, setting, value)
        elif not isinstance(of_class, property):  # a property is checked when a run starts
            check_setting(node, setting, getattr(node, setting))


def check_setting(node: Any, setting: str, value: Any) -> Any:
    """Return the plain Python value of a setting: an int for a numpy integer, seconds for a ``timedelta``.

    Raises:
        SettingError: It names the class, the setting, and the values it may have.
    """
    plain, may_be = SETTINGS[setting]
    try:
        return plain(value)
    except ValueError:
        raise SettingError(f"{class_name(node)}({setting}={quoted(value)}): {setting} must be {may_be}.") from None
