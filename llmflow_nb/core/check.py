"""Wiring that is probably not meant, found by looking: nothing is run.

What ``post`` may return is read off its bytecode, since a class in a notebook may have no source: the constants that it
returns, and whether it returns anything else. Where it does, nothing is said of what it can or cannot return.
"""

import dis
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType, MethodType
from typing import Any, Literal

from .errors import SignatureError, did_you_mean
from .hooks import hooks_of
from .node import BaseNode, kind_of, label
from .walk import names_within, reachable

__all__ = ["Problem", "ProblemKind", "actions_of", "check"]

ProblemKind = Literal[
    "no_edge", "unused_edge", "unreachable", "no_start", "endless", "contains_itself", "two_places", "overwritten"
]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing about a flow that is probably not meant.

    Attributes:
        kind: "no_edge": an action that ``post`` may return, for which a node with edges has none. "unused_edge": an
            edge that ``post`` never names. "unreachable": a node that only such edges lead to. "no_start": a flow
            without a start node. "endless": a loop with no way out. "contains_itself": a flow that is a step of itself.
            "two_places": one node object at several places. "overwritten": an edge that was wired again, elsewhere.
        path: The node, from the outermost flow down, joined by "/".
        text: What is wrong and what to do, in a sentence.
        action: The action that it is about; None where it is about none.
    """

    kind: ProblemKind
    path: str
    text: str
    action: str | None = None

    def __str__(self) -> str:
        """Return where and what, as one line."""
        return f"{self.path}: {self.text}"

    def __repr__(self) -> str:
        """The same, so that a list of them can be read."""
        return f"<{self}>"


def actions_of(node: BaseNode) -> tuple[list[str], bool]:
    """Return the actions that a node's ``post`` is seen to return, and whether it can return no others.

    None and "" stand for "default". A flow without a ``post`` of its own returns its last action: any.
    """
    try:
        hooks = hooks_of(node)
    except SignatureError:  # a hook was replaced by one that cannot be called: the run will say so
        return [], False
    if "post" not in hooks.own:
        return (["default"], True) if kind_of(node) != "flow" else ([], False)
    post: Any = vars(node).get(hooks.post) or getattr(type(node), hooks.post)
    function = post.__func__ if isinstance(post, MethodType) else post
    if not isinstance(function, FunctionType):  # what else can be called cannot be looked into
        return [], False
    found: dict[str, None] = {}
    is_all = True
    for is_known, value in _returned(function.__code__):
        if is_known and (value is None or isinstance(value, str)):
            found[value or "default"] = None
        else:
            is_all = False
    return list(found), is_all


def _returned(code: CodeType) -> Iterator[tuple[bool, Any]]:
    """Go through what a function returns: whether it is a constant, and which."""
    if code.co_flags & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR):
        yield False, None
        return
    steps = list(dis.get_instructions(code))
    jumps: dict[int, list[int]] = {}
    for i, step in enumerate(steps):
        if step.opcode in dis.hasjrel or step.opcode in dis.hasjabs:
            jumps.setdefault(step.argval, []).append(i)

    def before(i: int) -> Iterator[int]:
        """The instructions after which this one may come."""
        if i and steps[i - 1].opname not in _ENDS:
            yield i - 1
        yield from jumps.get(steps[i].offset, ())

    for i, step in enumerate(steps):
        if step.opname == "RETURN_CONST":
            yield True, step.argval
        elif step.opname == "RETURN_VALUE":
            todo, seen = list(before(i)), {i}
            for j in todo:  # grows as it is read
                if steps[j].opname == "LOAD_CONST":
                    yield True, steps[j].argval
                elif steps[j].opname in _PASSES:
                    todo += [k for k in before(j) if k not in seen]
                    seen.add(j)
                else:
                    yield False, None


# After these, the next instruction in line does not come next.
_ENDS = frozenset(
    {"RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE", "JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_ABSOLUTE"}
    | {"JUMP_BACKWARD_NO_INTERRUPT"}
)
# These leave what is to be returned as it is.
_PASSES = frozenset({"JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_ABSOLUTE", "NOP", "RESUME", "EXTENDED_ARG"})


def check(root: BaseNode) -> list[Problem]:
    """Return what is probably not meant in a flow, or in what can be reached from a node. Outer flows come first."""
    found: list[Problem] = []
    places: dict[int, list[str]] = {}
    todo: list[tuple[BaseNode, str, tuple[BaseNode, ...]]] = []
    if kind_of(root) in _FLOWS:
        todo.append((root, label(root), ()))
    else:
        todo += _check_steps(root, "", (), found, places)
    opened: set[int] = set()
    for flow, path, around in todo:  # grows as it is read
        start = getattr(flow, "start_node", None)
        if any(flow is outer for outer in around):
            text = "it contains itself, so it cannot run; wire the inner step to another flow."
            found.append(Problem("contains_itself", path, text))
        elif id(flow) in opened:  # what is within is told of where it was first met
            continue
        elif start is not None:
            opened.add(id(flow))
            todo += _check_steps(start, f"{path}/", (*around, flow), found, places)
        elif "prep" not in _own(flow):  # which could set one
            text = f"it has no start node; write {type(flow).__name__}(start=node) or flow.start(node)."
            found.append(Problem("no_start", path, text))
    for paths in places.values():
        if len(set(paths)) > 1:
            others = ", ".join(paths[1:4]) + (", ..." if len(paths) > 4 else "")
            found.append(Problem("two_places", paths[0], f"the same object is also at {others}; make a node for each."))
    return found


_FLOWS = ("flow", "batch_flow")
Steps = list[tuple[BaseNode, str, tuple[BaseNode, ...]]]


def _own(node: BaseNode) -> frozenset[str]:
    try:
        return hooks_of(node).own
    except SignatureError:
        return frozenset()


def _check_steps(
    start: BaseNode, prefix: str, around: tuple[BaseNode, ...], found: list[Problem], places: dict[int, list[str]]
) -> Steps:
    """Check the steps of one flow; return the flows among them."""
    names = names_within(start)
    steps = reachable(start)
    possible: dict[int, list[BaseNode]] = {}  # where a node can lead to
    can_end: set[int] = set()
    inner: Steps = []
    # An action without an edge ends the flow, and is the flow's own if that has no post: it may lead on from there.
    exits = around[-1].successors if around and "post" not in _own(around[-1]) else {}
    for step in steps:
        path = prefix + names[id(step)]
        places.setdefault(id(step), []).append(path)
        if kind_of(step) in _FLOWS:
            inner.append((step, path, around))
        edges = step.successors
        actions, is_all = actions_of(step)
        named = [action for action in edges if not is_all or action in actions]
        possible[id(step)] = [edges[action] for action in named]
        lost = [action for action in actions if action not in edges and action not in exits]
        if lost or not is_all or not edges or any(action not in edges for action in actions):
            can_end.add(id(step))
        for text in step.__dict__.get("overwritten", ()):
            found.append(Problem("overwritten", path, text))
        if not edges:
            continue
        for action in lost:
            hint = did_you_mean(action, edges)
            found.append(
                Problem(
                    "no_edge",
                    path,
                    f"may return {action!r}, and has no edge for it{hint}: there the flow ends.",
                    action,
                )
            )
        for action in edges:
            if action not in named:
                returns = ", ".join(map(repr, actions)) or "nothing"
                text = f"the edge {action!r} is never taken: post returns {returns}."
                found.append(Problem("unused_edge", path, text, action))
    on_the_way = {id(start)}
    todo = [start]
    for step in todo:  # grows as it is read
        for target in possible[id(step)]:
            if id(target) not in on_the_way:
                on_the_way.add(id(target))
                todo.append(target)
    for step in steps:
        if id(step) not in on_the_way:
            text = "it is never reached: only edges that are never taken lead to it."
            found.append(Problem("unreachable", prefix + names[id(step)], text))
    found += _endless(todo, possible, can_end, prefix, names)
    return inner


def _endless(
    steps: list[BaseNode], possible: dict[int, list[BaseNode]], can_end: set[int], prefix: str, names: dict[int, str]
) -> list[Problem]:
    """A problem for each loop that no walk can leave: steps from which no step is reached at which the flow can end."""
    leading: dict[int, list[int]] = {}
    for step in steps:
        for target in possible[id(step)]:
            leading.setdefault(id(target), []).append(id(step))
    ends = [id(step) for step in steps if id(step) in can_end]
    can_leave = set(ends)
    for end in ends:  # grows as it is read
        for source in leading.get(end, []):
            if source not in can_leave:
                can_leave.add(source)
                ends.append(source)
    stuck = [step for step in steps if id(step) not in can_leave]
    while True:  # what only leads to the loop is none of it
        led_to = {id(target) for step in stuck for target in possible[id(step)]}
        if all(id(step) in led_to for step in stuck):
            break
        stuck = [step for step in stuck if id(step) in led_to]
    if not stuck:
        return []
    ways = ", ".join(names[id(step)] for step in stuck[:5]) + (", ..." if len(stuck) > 5 else "")
    text = f"there is no way out of {ways}: no post on the way returns an action without an edge or to another step."
    return [Problem("endless", prefix + names[id(stuck[0])], text)]
