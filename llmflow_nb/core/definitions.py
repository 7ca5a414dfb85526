"""Find out which execution of a cell or a module defined a class, to know for certain which class is a new version.

A cell that is run again, or a module that is reloaded, defines its classes again. A loop, or ``exec`` of a template,
also makes several classes of one name, but within one execution: these are different classes. File names and line
numbers cannot tell the two cases apart, so each class remembers its execution:

- A class that a later execution defines under the same name is a new version of the earlier one.
- Classes that one execution defines under the same name are different classes. None of them has a new version, since
  it is unknown which class of a later execution that would be.
- A class that is made in a function, or by code whose execution is unknown, has no new version.

The execution is found on the call stack when the class is made: the nearest code at the top level of the class's module
that a front end runs as a whole. IPython compiles and runs each statement of a cell separately, so there the execution
is the result object that IPython makes for the cell.
"""

import re
import sys
import weakref
from inspect import CO_NEWLOCALS
from types import FrameType
from typing import Any

_CELL_FILE = re.compile(
    r"<(ipython|python)-input-|[\\/]ipykernel_\d+[\\/]|[\\/]ipython-input-|^<(stdin|input|console)>$"
)
"""The file names of code that a user runs cell by cell or line by line."""

_RUNNERS = frozenset({("code", "runcode"), ("_pyrepl.console", "runcode")})
"""Functions, by module and name, that run one input of an interactive session."""

_latest: dict[tuple[str, str], "Definition"] = {}
_any_superseded = False


class Definition:
    """All classes that one execution defined under one name of one module.

    Attributes:
        execution: A weak reference to the object that stands for the execution.
        last: A weak reference to the latest of these classes.
        is_single: Whether there is only one class, apart from those that a decorator replaced.
        is_superseded: Whether a later execution has defined the name.
    """

    __slots__ = ("__weakref__", "execution", "is_single", "is_superseded", "last")

    def __init__(self, execution: Any, cls: type) -> None:
        self.execution = weakref.ref(execution)
        self.last: weakref.ref[type] = weakref.ref(cls)
        self.is_single = True
        self.is_superseded = False

    def has_only(self, cls: type) -> bool:
        """Return whether this is the only class, so that a later execution can only replace this class."""
        return self.is_single and self.last() is cls

    def __reduce__(self) -> Any:
        """Pickle as None with a class that is pickled by value: it has no meaning in another process."""
        return type(None), ()


def define(cls: type) -> Definition | None:
    """Return the definition that a new class belongs to; None if the class can never have a new version."""
    global _any_superseded
    if "<locals>" in cls.__qualname__:
        return None
    execution = _execution(cls.__module__)
    if execution is None:
        return None
    where = cls.__module__, cls.__qualname__
    latest = _latest.get(where)
    if latest is not None and latest.execution() is execution:
        # A decorator may replace the class by a copy (`dataclass(slots=True)`), or by a subclass of the same name.
        is_copy = cls.__dict__.get("_definition") is latest
        if not is_copy and latest.last() not in cls.__mro__[1:]:
            latest.is_single = False
        latest.last = weakref.ref(cls)
        return latest
    if latest is not None:
        latest.is_superseded = True
        _any_superseded = True
    _latest[where] = Definition(execution, cls)
    return _latest[where]


def any_superseded() -> bool:
    """Return whether any class was defined again."""
    return _any_superseded


def _execution(module: str) -> Any:
    """Return the object that stands for the execution in progress; None if it is unknown."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        is_top_level = not frame.f_code.co_flags & CO_NEWLOCALS and frame.f_locals is frame.f_globals
        if is_top_level and frame.f_globals.get("__name__") == module:
            found = _runs_as_a_whole(frame)
            if found is not None:
                return found
        frame = frame.f_back
    return None


def _runs_as_a_whole(frame: FrameType) -> Any:
    """Return the object for the execution if this is the code of a cell or a module, not of an ``exec`` within one."""
    caller = frame.f_back
    if caller is None:
        return frame.f_code
    module, name = caller.f_globals.get("__name__", ""), caller.f_code.co_name
    if (module, name) == ("IPython.core.interactiveshell", "run_code"):
        result = caller.f_locals.get("result")
        return frame.f_code if result is None else result
    is_import = name == "exec_module" or caller.f_code.co_filename.startswith("<frozen importlib")
    if is_import or (module, name) in _RUNNERS or _CELL_FILE.search(frame.f_code.co_filename):
        return frame.f_code
    return None
