"""What can be wrong with a value in a journal."""

from typing import Any

__all__ = ["RefusedError", "UnreadableError", "described"]


class RefusedError(Exception):
    """A value cannot be written. The text says what it is, and what to return instead."""


class UnreadableError(Exception):
    """A text is no value. The text of the error says why."""


def described(value: Any) -> str:
    """Name the class of a value."""
    cls = type(value)
    return f"an object of the class {cls.__module__}.{cls.__qualname__}".replace("builtins.", "")
