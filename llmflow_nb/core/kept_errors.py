"""Exceptions without the frames that led to the user's hook, for the record of a run.

A traceback refers to frames, a frame to its caller's frame, and each frame to its local variables. So a kept exception
would keep the local variables of all callers in memory: of the library, of the cell, of the program. Python can neither
cut the link from a frame to its caller nor copy a frame. But the frame of a generator that has not started has no
caller, and the generator's code object can have any name, file, line table and local variables. The traceback of a kept
exception consists of such stand-in frames: from the user's hook on, it prints and debugs as before.
"""

import copy
from contextlib import suppress
from functools import lru_cache
from opcode import opmap
from types import CodeType, FrameType, FunctionType, GetSetDescriptorType, MemberDescriptorType, TracebackType
from typing import Any

_NOT_USER_CODE = frozenset({__name__.partition(".")[0], "asyncio", "concurrent", "threading"})
"""The packages whose frames lead to a hook."""

_HEAP_TYPE = 1 << 9  # the flag of classes that are written in Python
_BASE_FIELDS = frozenset(vars(BaseException)) | {"__dict__", "__weakref__"}
_set = BaseException.__setattr__  # a class, such as a frozen dataclass, may forbid its own


def _unstarted() -> Any:
    yield


_CODE: CodeType = _unstarted.__code__
_NOP = bytes([opmap["NOP"], 0])
_NO_LINE = 0xF8  # in a line table: up to eight instructions without a line


def drop_callers(error: BaseException, *, variables: bool = True) -> None:
    """Remove the frames before the user's hook from the traceback of an exception and of its causes and contexts.

    The exception is changed in place. A cause or context may be an exception that a caller handles, so a copy replaces
    it.

    Args:
        error: The exception.
        variables: Whether to keep the local variables of the hook and of the functions that it called.
    """
    _detach(error, error, variables)


def drop_tracebacks(error: BaseException) -> None:
    """Remove the traceback of an exception and of its causes and contexts."""
    _detach(error, error, None)


def copy_without_callers(error: BaseException) -> BaseException:
    """Return a copy of an exception after `drop_callers`. The exception itself does not change.

    A raised exception gains a traceback entry for each caller that it passes, so the record cannot keep that object. An
    exception that cannot be copied is returned itself.
    """
    twin = _copy(error)
    if twin is not error:
        _detach(error, twin, True)
    return twin


def _detach(error: BaseException, kept: BaseException, variables: bool | None) -> None:
    """Give ``kept`` the traceback, cause and context of ``error`` without callers. ``variables`` None: no traceback.

    The traceback of a cause or a context is kept if it comes from the same hook.
    """
    frames: dict[FrameType, FrameType] = {}
    twins = {id(error): kept}
    todo = [(error, kept, True)]
    for original, twin, is_root in todo:  # it grows meanwhile
        entry = _from_hook(original.__traceback__)
        is_of_hook = entry is not None and (
            is_root or entry is not original.__traceback__ or entry.tb_frame in frames or _is_stand_in(entry.tb_frame)
        )
        keeps = variables is not None and is_of_hook
        _set(twin, "__traceback__", _stand_ins(entry, frames, bool(variables)) if keeps else None)
        suppress_context = original.__suppress_context__
        for name in ("__cause__", "__context__"):
            behind = getattr(original, name)
            if behind is None:
                continue
            if id(behind) not in twins:
                has_frames = behind.__traceback__ is not None and not _is_stand_in(behind.__traceback__.tb_frame)
                twins[id(behind)] = _copy(behind) if has_frames else behind
                todo.append((behind, twins[id(behind)], False))
            _set(twin, name, twins[id(behind)])
        _set(twin, "__suppress_context__", suppress_context)  # setting the cause sets it
        if isinstance(original, BaseExceptionGroup):
            for each in original.exceptions:
                if twins.setdefault(id(each), each) is each:
                    todo.append((each, each, True))


def _is_stand_in(frame: FrameType) -> bool:
    return frame.f_code.co_code.startswith(_CODE.co_code)


def _from_hook(entry: TracebackType | None) -> TracebackType | None:
    """Skip the entries before the hook."""
    while entry is not None and str(entry.tb_frame.f_globals.get("__name__")).partition(".")[0] in _NOT_USER_CODE:
        entry = entry.tb_next
    return entry


def _stand_ins(
    entry: TracebackType | None, frames: dict[FrameType, FrameType], variables: bool
) -> TracebackType | None:
    entries = []
    while entry is not None:
        entries.append(entry)
        entry = entry.tb_next
    made = None
    for entry in reversed(entries):
        frame = entry.tb_frame
        if frame not in frames:
            frames[frame] = _stand_in(frame, variables)
        made = TracebackType(made, frames[frame], entry.tb_lasti, entry.tb_lineno)
    return made


def _stand_in(frame: FrameType, variables: bool) -> FrameType:
    """Return a frame without a caller that has the name, the lines and the local variables of another one."""
    if variables and _is_stand_in(frame):
        return frame
    kept = dict(frame.f_locals) if variables and frame.f_locals is not frame.f_globals else {}
    code = _stand_in_code(frame.f_code, frame.f_code.co_filename, tuple(kept))
    made: FrameType = FunctionType(code, frame.f_globals)(*kept.values()).gi_frame
    return made


@lru_cache(maxsize=1024)  # a batch often fails at the same lines
def _stand_in_code(code: CodeType, filename: str, names: tuple[str, ...]) -> CodeType:
    """Return the code of a stand-in. ``filename`` is in the key of the cache since equal codes may differ in it.

    The code must be as long as the original, to which the line table belongs: otherwise Python 3.11 crashes while a
    debugger or a profiler is on. Views of a traceback look up its instructions as well.
    """
    missing = (len(code.co_code) - len(_CODE.co_code)) // len(_NOP)
    no_lines = bytes([_NO_LINE | -missing - 1]) if missing < 0 else b""
    return _CODE.replace(
        co_argcount=len(names),
        co_nlocals=len(names),
        co_varnames=names,
        co_name=code.co_name,
        co_qualname=code.co_qualname,
        co_filename=filename,
        co_firstlineno=code.co_firstlineno,
        co_code=_CODE.co_code + _NOP * missing,
        co_linetable=code.co_linetable + no_lines,
    )


def _copy(error: BaseException) -> BaseException:
    """Return a copy, or the exception itself if that fails. ``__init__`` is not called: it may need other arguments."""
    cls = type(error)
    native = next(base for base in cls.__mro__ if not base.__flags__ & _HEAP_TYPE)
    try:
        twin: BaseException = native.__new__(cls, *error.args)
    except Exception:  # a class that is written in another language
        with suppress(Exception):
            twin = copy.copy(error)
            return twin if type(twin) is cls else error
        return error
    for base in cls.__mro__:
        for name, field in vars(base).items():
            if isinstance(field, MemberDescriptorType | GetSetDescriptorType) and name not in _BASE_FIELDS:
                with suppress(Exception):  # not set, or read-only and made from args
                    value = field.__get__(error)
                    if value is not None or base.__flags__ & _HEAP_TYPE:
                        field.__set__(twin, value)
    _set(twin, "args", error.args)
    twin.__dict__.update(error.__dict__)
    if "__notes__" in twin.__dict__:
        twin.__dict__["__notes__"] = list(error.__notes__)
    return twin
