"""Which actions a step may return, found without running anything.

The actions of a node are read from the bytecode of its ``post``, since a class in a notebook may have no source: the
constants that ``post`` returns, and whether it returns anything else. The actions of a flow without a ``post`` are the
actions by which its steps can end it.
"""

import dis
import inspect
from collections.abc import Iterator
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

__all__ = ["Returned", "ReturnedActions", "defined_hooks", "returns_last_action"]


class Returned(NamedTuple):
    """The actions that a step may return. None and "" count as "default".

    Attributes:
        actions: The actions that were found.
        is_complete: Whether the step can return no others.
        unchecked: The actions to report if this step has no edge for them. For a flow, these are the actions of
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
        """Return the actions with which the steps of a flow can end it: the actions without an edge."""
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

    def reached_from(self, start: BaseNode, leads_on: AbstractSet[str] = frozenset()) -> list[BaseNode]:
        """Return the steps that a run can reach, in breadth-first order. For ``leads_on`` see `usable_edges`."""
        found, seen = [start], {id(start)}
        for step in found:  # grows as it is read
            for target in self.usable_edges(step, leads_on).values():
                if target is not None and id(target) not in seen:
                    seen.add(id(target))
                    found.append(target)
        return found

    def usable_edges(self, step: BaseNode, leads_on: AbstractSet[str] = frozenset()) -> dict[str, BaseNode | None]:
        """Return the edges of a step that a run may take.

        An edge whose action is never returned counts too, if the step returns a misspelling of that action.

        Args:
            step: A step that `of` was called with.
            leads_on: Actions that need no edge here, see `Place.leads_on`, so they are no slips.
        """
        actions, is_complete, unchecked = self._found.get(id(step), _UNKNOWN)
        edges = step.successors
        if not is_complete:
            return dict(edges)
        missing = [action for action in unchecked if action not in edges and action not in leads_on]
        meant = {closest(action, edges) for action in missing} if edges else set()
        return {action: edges[action] for action in edges if action in actions or action in meant}


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

_JUMPS = frozenset({*dis.hasjrel, *dis.hasjabs})
_RETURNS = ("RETURN_CONST", "RETURN_VALUE")
# The instruction after one of these is not executed next.
_NO_FALL_THROUGH = frozenset(
    {*_RETURNS, "RAISE_VARARGS", "RERAISE", "JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT"}
)
# These leave the value on top of the stack as it is.
_KEEP_TOP = frozenset({"JUMP_FORWARD", "JUMP_BACKWARD", "NOP", "RESUME", "EXTENDED_ARG"})


def _return_values(code: CodeType) -> Iterator[tuple[bool, Any]]:
    """Yield for each value that a function may return whether it is a constant, and the constant."""
    if code.co_flags & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR):
        yield False, None
        return
    steps = list(dis.get_instructions(code))
    before = _executed_before(steps)
    for i, step in enumerate(steps):
        if step.opname not in _RETURNS:
            continue
        if i not in before:
            yield False, None
            continue
        todo, seen = [i] if step.opname == "RETURN_CONST" else list(before[i]), {i}
        for j in todo:  # grows as it is read
            if steps[j].opname in ("LOAD_CONST", "RETURN_CONST"):
                yield True, steps[j].argval
            elif steps[j].opname in _KEEP_TOP:
                todo += before[j] - seen
                seen.add(j)
            else:
                yield False, None


def _executed_before(steps: list[dis.Instruction]) -> dict[int, set[int]]:
    """Return, for each reachable instruction, the indexes of the instructions that may be executed right before it.

    It assumes that no ``with`` suppresses an exception, as hardly any does.
    """
    index = {step.offset: i for i, step in enumerate(steps)}
    todo = [0, *(i for i, step in enumerate(steps) if step.opname == "PUSH_EXC_INFO")]  # exception handlers too
    suppressing = {
        next(j for j in range(i, len(steps)) if steps[j].opname.endswith("IF_TRUE"))
        for i, step in enumerate(steps)
        if step.opname == "WITH_EXCEPT_START"
    }
    before: dict[int, set[int]] = {i: set() for i in todo}
    for i in todo:  # grows as it is read
        after = [] if steps[i].opname in _NO_FALL_THROUGH else [i + 1]
        if steps[i].opcode in _JUMPS and i not in suppressing:
            after.append(index[steps[i].argval])
        for j in after:
            if j not in before:
                before[j] = set()
                todo.append(j)
            before[j].add(i)
    return before
