"""Wiring that is probably not meant, found by looking: nothing is run.

What ``post`` may return is read off its bytecode, since a class in a notebook may have no source: the constants that it
returns, and whether it returns anything else. Where it does, nothing is said of what it can or cannot return.
"""

import difflib
import dis
import inspect
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType, FunctionType, MethodType
from typing import Any, Literal, NamedTuple

from .errors import SignatureError, did_you_mean
from .flow import EXEC_OF_FLOW, uncalled_hooks
from .hooks import ROLES, RUN, hooks_of, is_library_class, overridden, router_of
from .near import closest, is_an_ending, is_one_slip
from .node import BaseNode, kind_of, label
from .text import message, quoted, shown
from .traversal import names_of, path_part, reachable, within

__all__ = ["Actions", "Problem", "ProblemKind", "check", "exits_around"]

ProblemKind = Literal[
    "no_edge",
    "unused_edge",
    "unreachable",
    "no_start",
    "endless",
    "contains_itself",
    "two_places",
    "overwritten",
    "misspelt",
    "never_called",
]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing about a flow that is probably not meant.

    Attributes:
        kind: "no_edge": an action that ``post`` may return, for which a node with edges has none, and by which the flow
            is hardly meant to end. "unused_edge": an edge that ``post`` never names. "unreachable": a node that only
            such edges lead to. "no_start": a flow without a start node. "endless": a loop with no way out.
            "contains_itself": a flow that is a step of itself. "two_places": one node object at several places.
            "overwritten": an edge that was wired again, elsewhere. "misspelt": a method that has nearly the name of a
            hook. "never_called": an ``exec`` of a plain flow.
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
        return message(f"{shown(self.path, 320)}: {self.text}")

    def __repr__(self) -> str:
        """The same, so that a list of them can be read."""
        return f"<{self}>"


class Actions:
    """What the steps of a flow are seen to return, each looked at once. None and "" stand for "default"."""

    def __init__(self) -> None:
        self._found: dict[int, Returned] = {}

    def of(self, node: BaseNode) -> "Returned":
        """Return what a node's ``post`` may return; of a flow without one, the actions that it can be left by."""
        todo = [node]
        entered: set[int] = set()
        while id(node) not in self._found:
            step = todo[-1]
            if id(step) in self._found:
                todo.pop()
                continue
            if not _hands_on(step):
                self._found[id(step)] = _of_post(step)
                todo.pop()
                continue
            steps = reachable(getattr(step, "start_node", None))
            before = [inner for inner in steps if id(inner) not in self._found and id(inner) not in entered]
            if before and id(step) not in entered:
                todo += before
            else:
                self._found[id(step)] = self._of_exits(steps)
                todo.pop()
            entered.add(id(step))
        return self._found[id(node)]

    def _of_exits(self, steps: list[BaseNode]) -> "Returned":
        """What a flow hands on: what its steps return that have no edge for it."""
        actions: dict[str, None] = {}
        silent: dict[str, None] = {}
        is_all = bool(steps)
        for step in self.on_the_way(steps[0]) if steps else ():
            found = self._found.get(id(step), _UNKNOWN)  # not there: it is this flow, or one around it
            edges = step.successors
            actions |= dict.fromkeys(action for action in found.actions if edges.get(action) is None)
            silent |= dict.fromkeys(() if edges else found.silent)
            is_all &= found.is_all
        return Returned(tuple(actions), is_all, tuple(silent))

    def on_the_way(self, start: BaseNode, leads_on: AbstractSet[str] = frozenset()) -> list[BaseNode]:
        """Return the steps that a walk can come to, as far as is seen. ``leads_on`` as for `possible`."""
        found, seen = [start], {id(start)}
        for step in found:  # grows as it is read
            for target in self.possible(step, leads_on).values():
                if target is not None and id(target) not in seen:
                    seen.add(id(target))
                    found.append(target)
        return found

    def possible(self, step: BaseNode, leads_on: AbstractSet[str] = frozenset()) -> dict[str, BaseNode | None]:
        """Return the edges of a step that may be taken; also one that was probably meant by an action without one.

        Args:
            step: A step that was looked at.
            leads_on: What `exits_around` returned: actions that need no edge here, and so mean no other.
        """
        actions, is_all, silent = self._found.get(id(step), _UNKNOWN)
        edges = step.successors
        lost = [action for action in silent if action not in edges and action not in leads_on] if edges else []
        meant = {closest(action, edges) for action in lost}
        return {action: edges[action] for action in edges if not is_all or action in actions or action in meant}


class Returned(NamedTuple):
    """What a step may return.

    Attributes:
        actions: Those that are seen.
        is_all: Whether it can return no others.
        silent: Those that no step within has to say something of: it has no edges, so that any action ends its flow.
    """

    actions: tuple[str, ...]
    is_all: bool
    silent: tuple[str, ...] = ()


_UNKNOWN = Returned((), False)


def _hands_on(node: BaseNode) -> bool:
    """Whether it is a flow whose action is the last one in it."""
    return kind_of(node) == "flow" and "post" not in _own(node)


def _of_post(node: BaseNode) -> Returned:
    try:
        hooks = hooks_of(node)
    except SignatureError:  # a hook was replaced by one that cannot be called: the run will say so
        return Returned((), False)
    if any(layer.level == RUN for layer in overridden(node)):  # which may return anything
        return Returned((), False)
    if "post" not in hooks.own:
        if (
            is_library_class(type(node)) and kind_of(node) not in _FLOWS
        ):  # it stands for a class that is still to be written
            return Returned((), False)
        return Returned(("default",), True, ("default",))
    post: Any = vars(node).get(hooks.post) or getattr(type(node), hooks.post)
    function = post.__func__ if isinstance(post, MethodType) else post
    if not isinstance(function, FunctionType):  # what else can be called cannot be looked into
        return Returned((), False)
    return _of_code(function.__code__)


@lru_cache(maxsize=256)
def _of_code(code: CodeType) -> Returned:
    found: dict[str, None] = {}
    is_all = True
    for is_known, value in _returned(code):
        if is_known and (value is None or isinstance(value, str)):
            found[value or "default"] = None
        else:
            is_all = False
    return Returned(tuple(found), is_all, tuple(found))


def exits_around(around: Sequence[BaseNode]) -> set[str]:
    """Return the actions that lead on for a step without an edge for them: those of the flows that it leaves.

    Args:
        around: The flows around the step, the outermost first.
    """
    actions: set[str] = set()
    for flow in reversed(around):
        if not _hands_on(flow):
            break
        actions |= flow.successors.keys()
    return actions


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

    ordinary = _reached(steps)
    for i, step in enumerate(steps):
        if step.opname in ("RETURN_CONST", "RETURN_VALUE") and i not in ordinary:
            yield False, None
        elif step.opname in ("RETURN_CONST", "RETURN_VALUE"):
            todo, seen = [i] if step.opname == "RETURN_CONST" else list(before(i)), {i}
            for j in todo:  # grows as it is read
                if steps[j].opname in ("LOAD_CONST", "RETURN_CONST"):
                    yield True, steps[j].argval
                elif steps[j].opname in _PASSES:
                    todo += [k for k in before(j) if k not in seen]
                    seen.add(j)
                else:
                    yield False, None


def _reached(steps: list[dis.Instruction]) -> set[int]:
    """The instructions that are reached without a ``with`` that swallows an exception, which hardly one does."""
    at = {step.offset: i for i, step in enumerate(steps)}
    todo = [0, *(i for i, step in enumerate(steps) if step.opname == "PUSH_EXC_INFO")]  # and what handles exceptions
    swallowing = set()
    for i, step in enumerate(steps):
        if step.opname == "WITH_EXCEPT_START":
            swallowing.add(next(j for j in range(i, len(steps)) if steps[j].opname.endswith("IF_TRUE")))
    found = set(todo)
    for i in todo:  # grows as it is read
        after = [] if steps[i].opname in _ENDS else [i + 1]
        if (steps[i].opcode in dis.hasjrel or steps[i].opcode in dis.hasjabs) and i not in swallowing:
            after.append(at[steps[i].argval])
        for j in after:
            if j not in found and j < len(steps):
                found.add(j)
                todo.append(j)
    return found


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
    returned = Actions()
    todo: list[tuple[BaseNode, str, tuple[BaseNode, ...]]] = []
    ends = _Ends(root, returned)
    if kind_of(root) in _FLOWS:
        todo.append((root, path_part(label(root)), ()))
    else:
        todo += _check_steps(root, "", (), found, places, returned, ends)
    opened: set[int] = set()
    for flow, path, around in todo:  # grows as it is read
        start = getattr(flow, "start_node", None)
        if any(flow is outer for outer in around):
            text = "it contains itself, so it cannot run; wire the inner step to another flow."
            found.append(Problem("contains_itself", path, text))
            continue
        if id(flow) in opened:  # what is within is told of where it was first met
            continue
        if kind_of(flow) == "flow" and (uncalled := uncalled_hooks(type(flow))):
            found.append(Problem("never_called", path, f"nothing calls its {uncalled[0]}; {EXEC_OF_FLOW}"))
        if start is not None:
            opened.add(id(flow))
            todo += _check_steps(start, f"{path}/", (*around, flow), found, places, returned, ends)
        elif "prep" not in _own(flow):  # which could set one
            text = f"it has no start node; write {type(flow).__name__}(start=node) or flow.start(node)."
            found.append(Problem("no_start", path, text))
    for paths in places.values():
        if len(set(paths)) > 1:
            others = ", ".join(paths[1:4]) + (", ..." if len(paths) > 4 else "")
            found.append(Problem("two_places", paths[0], f"the same object is also at {others}; make a node for each."))
    return found


class _Ends:
    """Tells actions that end a flow, as PocketFlow's programs do, from slips: edges that were forgotten or misspelt."""

    def __init__(self, root: BaseNode, returned: Actions) -> None:
        self._returned = returned
        self._by: dict[str, set[object]] = {}
        self._told: set[tuple[object, str]] = set()
        roots = [root] if kind_of(root) in _FLOWS else reachable(root)
        for step in {id(step): step for node in roots for step in within(node)}.values():
            for action in () if _hands_on(step) else self._of(step):
                self._by.setdefault(action, set()).add(_written_as(step))

    def _of(self, step: BaseNode) -> list[str]:
        """The actions that end the flow after a step, as far as is seen."""
        return [action for action in self._returned.of(step).actions if step.successors.get(action) is None]

    def is_slip(
        self, step: BaseNode, action: str, possible: Mapping[str, BaseNode | None], reached: Sequence[BaseNode]
    ) -> bool:
        """Whether an action without an edge is hardly meant to end the flow. Of each class it is said once.

        Args:
            step: The step that may return it.
            action: The action.
            possible: The edges of the step that may be taken.
            reached: The steps of the flow that a walk can come to.
        """
        if (_written_as(step), action) in self._told or not self._looks_like_slip(step, action, possible, reached):
            return False
        self._told.add((_written_as(step), action))
        return True

    def _looks_like_slip(
        self, step: BaseNode, action: str, possible: Mapping[str, BaseNode | None], reached: Sequence[BaseNode]
    ) -> bool:
        actions, is_all, _ = self._returned.of(step)
        edges = step.successors
        near = closest(action, edges)
        if near is not None and (near not in actions or is_one_slip(action, near)):
            return True
        if is_all and any(target is not None and other not in actions for other, target in edges.items()):
            return True  # an edge has a name that is never returned: one of the two is wrong
        # Else the edge may be forgotten: where other actions name what comes next, as this one seems to do, and the
        # flow has its ends elsewhere.
        return (
            action != "default"
            and not is_an_ending(action)
            and any(possible.get(other) is not None for other in actions)
            and self._by.get(action) == {_written_as(step)}
            and any(self._of(other) for other in reached if other is not step)
        )


def _written_as(step: BaseNode) -> object:
    """What a word on a step is said of once: its class, or the step itself where that is the library's."""
    return id(step) if is_library_class(type(step)) else type(step)


_FLOWS = ("flow", "batch_flow")
Steps = list[tuple[BaseNode, str, tuple[BaseNode, ...]]]


def _own(node: BaseNode) -> frozenset[str]:
    try:
        return hooks_of(node).own
    except SignatureError:
        return frozenset()


def _check_steps(
    start: BaseNode,
    prefix: str,
    around: tuple[BaseNode, ...],
    found: list[Problem],
    places: dict[int, list[str]],
    returned: Actions,
    ends: "_Ends",
) -> Steps:
    """Check the steps of one flow; return the flows among them."""
    steps = reachable(start)
    names = names_of(steps)
    possible: dict[int, list[BaseNode]] = {}  # where a node can lead to
    can_end: set[int] = set()
    inner: Steps = []
    exits = exits_around(around)
    for step in steps:
        returned.of(step)
    is_routed = bool(around) and (router_of(around[-1]) is not None or bool(overridden(around[-1])))
    # Of a flow with a get_next_node or an _orch of its own, that may go anywhere, and end by any action.
    todo = steps if is_routed else returned.on_the_way(start, exits)
    reached = {id(step) for step in todo}
    for step in steps:
        path = prefix + path_part(names[id(step)])
        places.setdefault(id(step), []).append(path)
        if kind_of(step) in _FLOWS:
            inner.append((step, path, around))
        edges = step.successors
        actions, is_all, untold = returned.of(step)
        named = returned.possible(step, exits)
        possible[id(step)] = [target for target in named.values() if target is not None]
        if is_routed or not is_all or not edges or any(edges.get(action) is None for action in actions):
            can_end.add(id(step))
        for text in step.__dict__.get("overwritten", ()):
            found.append(Problem("overwritten", path, text))
        for text in _misspelt(step):
            found.append(Problem("misspelt", path, text))
        is_reached = id(step) in reached
        is_reached = is_reached and not is_routed
        lost = [action for action in untold if action not in edges and action not in exits] if edges else []
        what = "may end with" if _hands_on(step) else "may return"
        for action in lost if is_reached else ():
            if not ends.is_slip(step, action, named, todo):
                continue
            hint = did_you_mean(action, edges)
            text = f"{what} {quoted(action)}, and has no edge for it{hint}: there the flow ends."
            found.append(Problem("no_edge", path, text, action))
        for action in edges:
            if action not in named and is_reached and edges[action] is not None:
                returns = ", ".join(map(quoted, actions))
                does = f"{'ends with' if _hands_on(step) else 'post returns'} {returns}" if returns else "it never ends"
                edge = quoted(action)
                text = f"the edge {edge} is never taken: {does}. node.successors.pop({edge}) takes it back."
                found.append(Problem("unused_edge", path, text, action))
    for step in steps:
        if id(step) not in reached:
            text = "it is never reached: only edges that are never taken lead to it."
            found.append(Problem("unreachable", prefix + path_part(names[id(step)]), text))
    found += _endless(todo, possible, can_end, prefix, names)
    return inner


def _misspelt(node: BaseNode) -> Iterator[str]:
    """A text for each method that has nearly the name of a hook which the class has not, and that it does not call."""
    own = _own(node)
    missing = [getattr(type(node)._dialect, role)[0] for role in ROLES if role not in own]
    classes = [cls for cls in type(node).__mro__ if hasattr(cls, "_kind") and not is_library_class(cls)]
    methods = {name: value for cls in classes for name, value in vars(cls).items() if isinstance(value, FunctionType)}
    called = {name for method in methods.values() for name in method.__code__.co_names}
    for name in methods:
        if name.startswith("_") or name in called or hasattr(BaseNode, name) or name in type(node)._dialect.names():
            continue
        for hook in missing:
            if name == f"{hook}_async":
                yield f"nothing calls its method {name}; write async def {hook}"
            elif _is_near(name, hook):
                yield f"nothing calls its method {name}; did you mean {hook}?"


def _is_near(name: str, hook: str) -> bool:
    """Whether a name is a hook's with one slip, and not a word of its own."""
    if name == "fallback":
        return hook == "exec_fallback"
    same_start = name[:1].lower() == hook[:1]
    return same_start and difflib.SequenceMatcher(None, name.lower(), hook).ratio() > 0.84


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
    return [Problem("endless", prefix + path_part(names[id(stuck[0])]), text)]
