"""What a hook returned: a plain value, or something that still has to be awaited."""

from contextlib import suppress
from inspect import CO_ITERABLE_COROUTINE
from types import CoroutineType, GeneratorType
from typing import Any

from ..core.loaded import loaded

__all__ = ["PLAIN", "discard", "is_awaitable"]

PLAIN = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict, set})
"""The types of most results, which need no closer look: asking for them costs 10 ns, `is_awaitable` 200."""


def is_awaitable(value: Any) -> bool:
    """Whether a value is a coroutine, a future, or anything else that ``await`` accepts.

    The type decides: an object may answer to every attribute, and so may its class.
    """
    cls = type(value)
    if cls is CoroutineType:
        return True
    if hasattr(cls, "__await__"):  # quick to say no
        return any("__await__" in vars(base) for base in cls.__mro__)
    return cls is GeneratorType and bool(value.gi_code.co_flags & CO_ITERABLE_COROUTINE)


def discard(value: Any) -> None:
    """Close a coroutine, or cancel a future, that nobody is going to await. Any other value is left alone."""
    if isinstance(value, CoroutineType):
        value.close()
        return
    asyncio = loaded("asyncio", "Future")  # without it, there is no future; importing it takes 20 ms
    if asyncio is not None and isinstance(value, asyncio.Future):
        with suppress(RuntimeError):  # its loop is closed, and so nothing of it runs
            value.get_loop().call_soon_threadsafe(value.cancel)
