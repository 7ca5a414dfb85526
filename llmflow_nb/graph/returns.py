"""Which actions a step may return, found without running anything.

The actions of a node are read from the bytecode of its ``post``, since a class in a notebook may have no source: the
constants that ``post`` returns, and whether it returns anything else. The actions of a flow without a ``post`` are the
actions by which its steps can end it.
"""

import dis
import inspect
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from types import CodeType, FunctionType, MethodType
from typing import Any, NamedTuple

from ..core.errors import SignatureError
from ..core.hooks import hooks_of, is_library_class
from ..core.layers import RUN, overridden
from ..core.near import closest
from ..core.node import BaseNode, kind_of
from ..core.traversal import reachable

__all__ = ["Returned", "ReturnedActions", "defined_hooks", "edges_further_out", "returns_last_action"]


class Returned(NamedTuple):
    """The actions that a step may return. None and "" count as "default".

    Attributes:
        actions: The actions that were found.
        is_complete: Whether the step can return no others.
        unchecked: The actions that a missing edge of this step is reported for. For a flow, these are the actions of
            inner steps without edges; an inner step with edges is checked itself.
    """

    actions: tuple[str, ...]
    is_complete: bool
    unchecked: tuple[str, ...] = ()


_UNKNOWN = Returned((), False)


class ReturnedActions:
    """Looks up which actions steps may return. Reads each step once."""

    def __init__(self) -> None:
        self._found: dict[int, Returned] = {}

    def of(self, node: BaseNode) -> Returned:
        """Return the actions that a step may return."""
        todo = [node]
        entered: set[int] = set()
        while id(node) not in self._found:
            step = todo[-1]
            if id(step) in self._found:
                todo.pop()
                continue
            if not returns_last_action(step):
                self._found[id(step)] = _of_node(step)
                todo.pop()
                continue
            steps = reachable(getattr(step, "start_node", None))
            before = [inner for inner in steps if id(inner) not in self._found and id(inner) not in entered]
            if before and id(step) not in entered:
                todo += before
            else:
                self._found[id(step)] = self._of_flow(steps)
                todo.pop()
            entered.add(id(step))
        return self._found[id(node)]

    def _of_flow(self, steps: list[BaseNode]) -> Returned:
        """Return the actions by which the steps of a flow can end it: those that have no edge."""
        actions: dict[str, None] = {}
        unchecked: dict[str, None] = {}
        is_complete = bool(steps)
        for step in self.reached_from(steps[0]) if steps else ():
            found = self._found.get(id(step), _UNKNOWN)  # unknown if it is this flow, or one around it
            edges = step.successors
            actions |= dict.fromkeys(action for action in found.actions if edges.get(action) is None)
            unchecked |= dict.fromkeys(() if edges else found.unchecked)
            is_complete &= found.is_complete
        return Returned(tuple(actions), is_complete, tuple(unchecked))

    def reached_from(self, start: BaseNode, edges_outside: AbstractSet[str] = frozenset()) -> list[BaseNode]:
        """Return the steps that a run can reach, in breadth-first order. For ``edges_outside`` see `usable_edges`."""
        found, seen = [start], {id(start)}
        for step in found:  # grows as it is read
            for target in self.usable_edges(step, edges_outside).values():
                if target is not None and id(target) not in seen:
                    seen.add(id(target))
                    found.append(target)
        return found

    def usable_edges(self, step: BaseNode, edges_outside: AbstractSet[str] = frozenset()) -> dict[str, BaseNode | None]:
        """Return the edges of a step that a run may take.

        An edge whose action is never returned counts too, if the step returns a misspelling of that action.

        Args:
            step: A step that `of` was called with.
            edges_outside: The result of `edges_further_out`: these actions need no edge here, so they are no slips.
        """
        actions, is_complete, unchecked = self._found.get(id(step), _UNKNOWN)
        edges = step.successors
        if not is_complete:
            return dict(edges)
        missing = [action for action in unchecked if action not in edges and action not in edges_outside]
        meant = {closest(action, edges) for action in missing} if edges else set()
        return {action: edges[action] for action in edges if action in actions or action in meant}


def edges_further_out(around: Sequence[BaseNode]) -> set[str]:
    """Return the actions that need no edge on a step, because a flow that ends with the step has an edge for them.

    Args:
        around: The flows around the step, the outermost first.
    """
    actions: set[str] = set()
    for flow in reversed(around):
        if not returns_last_action(flow):
            break
        actions |= flow.successors.keys()
    return actions


def returns_last_action(node: BaseNode) -> bool:
    """Return whether a node is a flow without a ``post``, whose action is the last action in it."""
    return kind_of(node) == "flow" and "post" not in defined_hooks(node)


def defined_hooks(node: BaseNode) -> frozenset[str]:
    """Return the hooks that a class defines; none if one of them cannot be called, which a run will report."""
    try:
        return hooks_of(node).own
    except SignatureError:
        return frozenset()


def _of_node(node: BaseNode) -> Returned:
    """Return the actions that a node's own ``post`` may return."""
    try:
        hooks = hooks_of(node)
    except SignatureError:
        return _UNKNOWN
    if any(layer.level == RUN for layer in overridden(node)):  # an overridden visit may return anything
        return _UNKNOWN
    if "post" not in hooks.own:
        if is_library_class(type(node)) and kind_of(node) in ("node", "batch_node"):
            return _UNKNOWN  # a placeholder for a class that is not written yet
        return Returned(("default",), True, ("default",))
    post: Any = vars(node).get(hooks.post) or getattr(type(node), hooks.post)
    function = post.__func__ if isinstance(post, MethodType) else post
    if not isinstance(function, FunctionType):  # other callables have no bytecode to read
        return _UNKNOWN
    return _of_code(function.__code__)


@lru_cache(maxsize=256)
def _of_code(code: CodeType) -> Returned:
    found: dict[str, None] = {}
    is_complete = True
    for is_constant, value in _return_values(code):
        if is_constant and (value is None or isinstance(value, str)):
            found[value or "default"] = None
        else:
            is_complete = False
    return Returned(tuple(found), is_complete, tuple(found))


# ---- bytecode --------------------------------------------------------------------------------------------------------

# The instruction after one of these is not executed next.
_NO_FALL_THROUGH = frozenset(
    {"RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE", "JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_ABSOLUTE"}
    | {"JUMP_BACKWARD_NO_INTERRUPT"}
)
# These leave the value on top of the stack as it is.
_KEEP_TOP = frozenset({"JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_ABSOLUTE", "NOP", "RESUME", "EXTENDED_ARG"})


def _return_values(code: CodeType) -> Iterator[tuple[bool, Any]]:
    """Yield for each value that a function may return whether it is a constant, and the constant."""
    if code.co_flags & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR):
        yield False, None
        return
    steps = list(dis.get_instructions(code))
    jumps: dict[int, list[int]] = {}
    for i, step in enumerate(steps):
        if _is_jump(step):
            jumps.setdefault(step.argval, []).append(i)

    def before(i: int) -> Iterator[int]:
        """Yield the instructions that may be executed right before this one."""
        if i and steps[i - 1].opname not in _NO_FALL_THROUGH:
            yield i - 1
        yield from jumps.get(steps[i].offset, ())

    executed = _executed(steps)
    for i, step in enumerate(steps):
        if step.opname not in ("RETURN_CONST", "RETURN_VALUE"):
            continue
        if i not in executed:
            yield False, None
            continue
        todo, seen = [i] if step.opname == "RETURN_CONST" else list(before(i)), {i}
        for j in todo:  # grows as it is read
            if steps[j].opname in ("LOAD_CONST", "RETURN_CONST"):
                yield True, steps[j].argval
            elif steps[j].opname in _KEEP_TOP:
                todo += [k for k in before(j) if k not in seen]
                seen.add(j)
            else:
                yield False, None


def _executed(steps: list[dis.Instruction]) -> set[int]:
    """Return the instructions that can be executed if no ``with`` suppresses an exception, as hardly any does."""
    index = {step.offset: i for i, step in enumerate(steps)}
    todo = [0, *(i for i, step in enumerate(steps) if step.opname == "PUSH_EXC_INFO")]  # exception handlers too
    suppressing = set()
    for i, step in enumerate(steps):
        if step.opname == "WITH_EXCEPT_START":
            suppressing.add(next(j for j in range(i, len(steps)) if steps[j].opname.endswith("IF_TRUE")))
    found = set(todo)
    for i in todo:  # grows as it is read
        after = [] if steps[i].opname in _NO_FALL_THROUGH else [i + 1]
        if _is_jump(steps[i]) and i not in suppressing:
            after.append(index[steps[i].argval])
        for j in after:
            if j not in found and j < len(steps):
                found.add(j)
                todo.append(j)
    return found


def _is_jump(step: dis.Instruction) -> bool:
    return step.opcode in dis.hasjrel or step.opcode in dis.hasjabs
