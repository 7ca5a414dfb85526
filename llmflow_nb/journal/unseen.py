"""Find out whether ``exec`` reads what no key contains: a file, the environment, the clock, random numbers."""

import builtins
import dis
import inspect
import random
import time
from functools import lru_cache
from types import CodeType, FunctionType, ModuleType
from typing import Any

from ..core.code_parts import globals_of
from ..core.node import BaseNode, label

__all__ = ["unseen"]

_FILES = frozenset({"read_text", "read_bytes"})
_CLOCK = frozenset({"time", "time_ns", "localtime", "gmtime", "ctime", "strftime", "now", "today", "utcnow"})
_BY_MODULE: dict[str, tuple[str, frozenset[str]]] = {
    "os": ("the environment", frozenset({"environ", "getenv"})),
    "time": ("the clock", _CLOCK),
    "datetime": ("the clock", _CLOCK),
    "random": ("random numbers", frozenset()),
    "secrets": ("random numbers", frozenset()),
    "uuid": ("random numbers", frozenset({"uuid1", "uuid4"})),
}
"""What a module of the standard library reads, and the names that say so; none: any use does."""


def unseen(node: BaseNode) -> str:
    """Return what the ``exec`` of a node reads that no key contains, as a text for the user; "" if nothing is found.

    Only its own code is looked at, not the functions that it calls.
    """
    function = inspect.unwrap(getattr(type(node), "exec", None))  # type: ignore[arg-type]
    if getattr(node, "volatile", False) or not isinstance(function, FunctionType):
        return ""
    code, namespace = function.__code__, function.__globals__
    names = _attributes_in(code)
    found = {_what(namespace.get(name, vars(builtins).get(name)), names) for name in globals_of(code)}
    if names & _FILES:
        found.add("a file")
    what = " and ".join(sorted(found - {""}))
    return what and (
        f"{label(node)}: exec reads {what}, but a result is reused even if that has changed; "
        "volatile=True calls the node each time"
    )


@lru_cache(maxsize=1024)
def _attributes_in(code: CodeType) -> set[str]:
    """Return the names of the attributes that code reads, that of its inner functions too."""
    found = {str(step.argval) for step in dis.get_instructions(code) if step.opname in ("LOAD_ATTR", "LOAD_METHOD")}
    return found.union(*[_attributes_in(inner) for inner in code.co_consts if isinstance(inner, CodeType)])


def _what(value: Any, names: set[str]) -> str:
    """Return what the value of a global reads; "" for nothing."""
    if value is open:
        return "a file"
    if isinstance(getattr(value, "__self__", None), random.Random):  # such as random.choice
        return "random numbers"
    if value in (time.time, time.time_ns):
        return "the clock"
    is_module = isinstance(value, ModuleType)
    module = value.__name__ if is_module else getattr(value, "__module__", "")
    what, by = _BY_MODULE.get(module, ("", frozenset())) if isinstance(module, str) else ("", frozenset())
    if is_module or isinstance(value, type):
        return what if what and (not by or by & names) else ""
    return what if getattr(value, "__name__", "") in by else ""
