"""Write one visit as a test for pytest: its input, the results of its ``exec``, and its outcome.

The idea comes from Burr, whose command line turns a step into a fixture.
"""

import ast
import json
import re
from pathlib import Path
from typing import Any

from ..core.errors import ExportError, RunStateError, a_type
from ..core.traversal import last_name
from .comparing import same
from .session import Session

__all__ = ["write_test"]

_NOT_WRITTEN = frozenset({"successors", "params", "last_run", "name", "overwritten", "items"})
"""Attributes of a node that belong to the engine, the library or the visit."""
MAX_LITERAL = 1_000_000
"""Characters of a value that is written as a Python literal."""

_TEST = '''\
"""{path}, visit {visit}, as a stepper saw it."""

import json

from {module} import {imported}

{constants}


def {test}():
    node = {cls}.__new__({cls})
    node.__dict__.update(ATTRIBUTES, params=PARAMS, successors={{}}, name=None)
    given, results = [], list(RESULTS)

    def exec({parameters}):
        given.append(item)
        return results.pop(0)

    node.exec = exec
    action = node.run(SHARED)
    assert given == ITEMS
    assert action {equals} {action}
    assert SHARED == EXPECTED
'''


def write_test(session: Session, path: Path) -> Path:
    """Write a test for pytest that repeats the current visit with its results of ``exec``.

    Raises:
        RunStateError: The visit is not done, it is a visit of a flow, or its start was evicted.
        ExportError: The test could not import the class, or a value cannot be written. No file is written.
    """
    here, frame = session.history.now.location, session.position.frames[-1]
    node, hooks = frame.node, frame.plan.facts.hooks
    ended = here.boundary.ended
    if frame.plan.facts.is_flow or not (ended == "post" or (ended == "exec" and "post" not in hooks.own)):
        raise RunStateError(
            f"as_test needs a place after the post of a node. The stepper is at {here.path}, {here.phase}."
        )
    cls = type(node)
    if cls.__module__ in ("__main__", "builtins") or "<locals>" in cls.__qualname__:
        raise ExportError(
            f"{cls.__qualname__} is defined in {cls.__module__.replace('__main__', 'the notebook')}, where a test "
            "cannot import it; move the class to a module, import it from there, and step again."
        )
    is_batch = frame.plan.facts.kind == "batch_node"
    start = session.history.visit_start()
    start.require_saved()  # without it, the values of shared are not kept either
    values = {
        "shared": ("what shared held", {key: version.value() for key, version in start.snapshot.items()}),
        "params": ("its params", dict(frame.params)),
        "attributes": (
            "what is set on the node",
            {name: value for name, value in vars(node).items() if name not in _NOT_WRITTEN},
        ),
        "items": ("what exec was given", list(frame.prep_res) if is_batch else [frame.prep_res]),
        "results": ("what exec returned", list(frame.exec_res) if is_batch else [frame.exec_res]),
        "expected": ("what shared held then", dict(session.snapshots.values or {})),
    }
    written = {name: _written(f"{here.path}: {what}", value) for name, (what, value) in values.items()}
    name = re.sub(r"\W+", "_", f"test_{last_name(here.path)}_visit_{here.visit}".lower())
    text = _TEST.format(
        path=repr(here.path)[1:-1].replace('"', "'").replace("\\", "/"),
        visit=here.visit,
        module=cls.__module__,
        imported=cls.__qualname__.partition(".")[0],
        constants="\n".join(f"{name.upper()} = {text}" for name, text in written.items()),
        test=name if name.isidentifier() else "test_visit",
        cls=cls.__qualname__,
        parameters="shared, item" if hooks.exec_takes_shared else "item",
        equals="is" if here.action is None else "==",
        action=repr(here.action),
    )
    path.write_text(text, encoding="utf-8")
    return path


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
