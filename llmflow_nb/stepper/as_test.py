"""Write one visit as a test for pytest: its input, the results of its ``exec``, and its outcome.

The idea comes from Burr, whose command line turns a step into a fixture.
"""

import ast
import json
import keyword
import re
from pathlib import Path
from pprint import pformat
from typing import Any, NamedTuple

from ..core.errors import ExportError, RunStateError, a_type
from ..core.hooks import hooks_of
from ..core.node import BaseNode
from ..core.params import Params
from ..core.traversal import last_name
from .comparing import same
from .session import Session

__all__ = ["Visited", "current_visit", "write_test"]

_NOT_WRITTEN = frozenset({"successors", "params", "last_run", "name", "overwritten", "items"})
"""Attributes of a node that belong to the engine, the library or the visit."""
_WHAT = {
    "shared": "what shared held",
    "params": "its params",
    "attributes": "what is set on the node",
    "items": "what exec was given",
    "results": "what exec returned",
    "expected": "what shared held then",
}
MAX_LITERAL = 1_000_000
"""Characters of a value that is written as a Python literal."""


class Visited(NamedTuple):
    """One visit of a node.

    Attributes:
        node: The node.
        path: Its path.
        visit: The number of the visit.
        params: The params of the node.
        before: What ``shared`` held before ``prep``.
        after: What ``shared`` held after ``post``.
        items: The inputs of ``exec``, one for each call.
        results: The results of ``exec``.
        action: What ``post`` returned.
    """

    node: BaseNode
    path: str
    visit: int
    params: Params
    before: dict[Any, Any]
    after: dict[Any, Any]
    items: list[Any]
    results: list[Any]
    action: Any


def current_visit(session: Session) -> Visited:
    """Return the visit that a stepper is at.

    Raises:
        RunStateError: It is not done, or it is a visit of a flow.
    """
    here, frame = session.history.now.location, session.position.frames[-1]
    ended = here.boundary.ended
    is_done = ended == "post" or (ended == "exec" and "post" not in frame.plan.hooks.own)
    if not is_done or frame.plan.is_flow:
        raise RunStateError(f"as_test: go to after the post of a node first; this is {here.path}, {here.phase}.")
    is_batch = frame.plan.kind == "batch_node"
    return Visited(
        node=frame.node,
        path=here.path,
        visit=here.visit,
        params=frame.params,
        before={key: version.value() for key, version in session.history.visit_start().snapshot.items()},
        after=dict(session.snapshots.values or {}),
        items=list(frame.prep_res) if is_batch else [frame.prep_res],
        results=list(frame.exec_res) if is_batch else [frame.exec_res],
        action=here.action,
    )


def write_test(visited: Visited, path: Path) -> Path:
    """Write a test for pytest that repeats a visit with its results of ``exec``.

    Raises:
        ExportError: The test could not import the class, or a value cannot be written. No file is written.
    """
    node, cls = visited.node, type(visited.node)
    if cls.__module__ in ("__main__", "builtins") or "<locals>" in cls.__qualname__:
        raise ExportError(
            f"{cls.__qualname__} is defined in {cls.__module__.replace('__main__', 'the notebook')}, where a test "
            "cannot import it; move the class to a module, import it from there, and step again."
        )
    attributes = {name: value for name, value in node.__dict__.items() if name not in _NOT_WRITTEN}
    values = {
        "shared": visited.before,
        "params": dict(visited.params),
        "attributes": attributes,
        "items": visited.items,
        "results": visited.results,
        "expected": visited.after,
    }
    written = {name: _written(f"{visited.path}: {_WHAT[name]}", value) for name, value in values.items()}
    name = re.sub(r"\\W+", "_", f"{last_name(visited.path)}_visit_{visited.visit}".lower())
    takes_shared = "shared, item" if _takes_shared(node) else "item"
    lines = [
        f'"""{_one_line(visited.path)}, visit {visited.visit}, as a stepper saw it."""',
        "",
        "import json",
        "",
        f"from {cls.__module__} import {cls.__qualname__.partition('.')[0]}",
        "",
        *(f"{name.upper()} = {text}" for name, text in written.items()),
        "",
        "",
        f"def test_{name if name.isidentifier() and not keyword.iskeyword(name) else 'visit'}():",
        f"    node = {cls.__qualname__}.__new__({cls.__qualname__})",
        "    node.__dict__.update(ATTRIBUTES, params=PARAMS, successors={}, name=None)",
        "    given, results = [], list(RESULTS)",
        "",
        f"    def exec({takes_shared}):",
        "        given.append(item)",
        "        return results.pop(0)",
        "",
        "    node.exec = exec",
        "    action = node.run(SHARED)",
        "    assert given == ITEMS",
        f"    assert action {'is' if visited.action is None else '=='} {visited.action!r}",
        "    assert SHARED == EXPECTED",
        "",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _takes_shared(node: BaseNode) -> bool:
    return hooks_of(node).exec_takes_shared


def _one_line(text: str) -> str:
    return pformat(text)[1:-1].replace('"', "'").replace("\\", "/")


def _written(what: str, value: Any) -> str:
    """Return code that creates a value: from JSON if possible, else as a Python literal.

    Raises:
        ExportError: Neither gives an equal value.
    """
    try:
        text = json.dumps(value, allow_nan=False)  # NaN does not equal itself
        if same(json.loads(text), value):
            return f"json.loads({json.dumps(text)})"
    except (TypeError, ValueError, RecursionError):
        pass
    try:
        text = repr(value)
        if len(text) < MAX_LITERAL and same(ast.literal_eval(text), value):
            return text
    except Exception:  # not a literal, or an error in the user's __repr__
        pass
    raise ExportError(
        f"{what} is {a_type(value)}, which cannot be written into a test: it is neither JSON nor a literal."
    )
