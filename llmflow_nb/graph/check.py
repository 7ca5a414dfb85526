"""Find wiring that is probably a mistake. Nothing is run.

To add a check, write a generator function like those in `STEP_CHECKS` or `FLOW_CHECKS` below, add it there, and add its
kind to `ProblemKind`.
"""

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FunctionType
from typing import Literal

from ..core.errors import did_you_mean
from ..core.flow import EXEC_OF_FLOW, uncalled_hooks
from ..core.hooks import ROLES, is_library_class
from ..core.layers import overridden, router_of
from ..core.node import BaseNode, kind_of
from ..core.text import message, quoted, shown
from .places import Place, places
from .returns import ReturnedActions, defined_hooks, returns_last_action
from .slips import Slips

__all__ = ["Problem", "ProblemKind", "check"]

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
    """One thing in a flow that is probably a mistake.

    Attributes:
        kind: "no_edge": ``post`` may return an action without an edge, which is probably not meant to end the flow.
            "unused_edge": an edge whose action ``post`` never returns. "unreachable": a node that only unused edges
            lead to. "no_start": a flow without a start node. "endless": a loop that a run cannot leave.
            "contains_itself": a flow that contains itself. "two_places": one node object at several places.
            "overwritten": an edge that was wired again to another node. "misspelt": a method whose name is nearly that
            of a hook. "never_called": an ``exec`` of a plain flow.
        path: The path of the node: names from the outermost flow down, joined by "/".
        text: What is wrong and what to do, in a sentence.
        action: The action concerned; None if the problem concerns no action.
    """

    kind: ProblemKind
    path: str
    text: str
    action: str | None = None

    def __str__(self) -> str:
        """Return the path and the text, as one line."""
        return message(f"{shown(self.path, 320)}: {self.text}")

    def __repr__(self) -> str:
        """Return the same in angle brackets, so that a list of problems is readable."""
        return f"<{self}>"


def check(root: BaseNode, returned: ReturnedActions | None = None) -> list[Problem]:
    """Return the probable mistakes in a flow, or in all that can be reached from a node. Outer flows come first.

    Args:
        root: The flow or the node.
        returned: What is known already of the actions that the steps may return.
    """
    returned = returned or ReturnedActions()
    slips = Slips(root, returned)
    problems: list[Problem] = []
    paths: dict[int, list[str]] = {}  # of each step in all places
    opened: set[int] = set()
    for place in places(root):
        if place.repeats is not None:
            text = "it contains itself, so it cannot run; wire the inner step to another flow."
            problems.append(Problem("contains_itself", place.path, text))
        elif id(place.flow) not in opened:  # a flow used twice is reported where it is first met
            problems += _flow_problems(place)
            if place.start is not None:
                opened.add(id(place.flow))
                place.open()
                steps = _Steps(place, returned, slips)
                for step in place.steps:
                    paths.setdefault(id(step), []).append(place.path_of(step))
                    problems += (problem for check_step in STEP_CHECKS for problem in check_step(steps, step))
                problems += (problem for check_flow in FLOW_CHECKS for problem in check_flow(steps))
    for found in paths.values():
        if len(set(found)) > 1:
            others = ", ".join(found[1:4]) + (", ..." if len(found) > 4 else "")
            problems.append(
                Problem("two_places", found[0], f"the same object is also at {others}; make a node for each.")
            )
    return problems


def _flow_problems(place: Place) -> Iterator[Problem]:
    flow = place.flow
    if flow is None:
        return
    if kind_of(flow) == "flow" and (uncalled := uncalled_hooks(type(flow))):
        yield Problem("never_called", place.path, f"nothing calls its {uncalled[0]}; {EXEC_OF_FLOW}")
    if place.start is None and "prep" not in defined_hooks(flow):  # a prep could set the start
        text = f"it has no start node; write {type(flow).__name__}(start=node) or flow.start(node)."
        yield Problem("no_start", place.path, text)


class _Steps:
    """The steps of one flow, with what the checks need to know about them.

    Attributes:
        nodes, path, names, leads_on: As in `Place`.
        is_routed: Whether the program chooses the next step itself, in ``get_next_node`` or ``_orch``: then any step
            may follow another, and any action may end the flow.
        reached: The steps that a run can reach; all of them if the flow is routed.
        usable: The edges that a run may take, by the ``id`` of their step.
    """

    def __init__(self, place: Place, returned: ReturnedActions, slips: Slips) -> None:
        self.nodes = place.steps
        self.path = place.path_of
        self.names = place.names
        self.leads_on = place.leads_on
        self.returned = returned
        self.slips = slips
        flow = place.flow
        self.is_routed = flow is not None and (router_of(flow) is not None or bool(overridden(flow)))
        for step in self.nodes:
            returned.of(step)
        self.reached = self.nodes if self.is_routed else returned.reached_from(self.nodes[0], self.leads_on)
        self.reached_ids = {id(step) for step in self.reached}
        self.usable = {id(step): returned.usable_edges(step, self.leads_on) for step in self.nodes}

    def can_end_after(self, step: BaseNode) -> bool:
        actions, is_complete, _ = self.returned.of(step)
        edges = step.successors
        return self.is_routed or not is_complete or not edges or any(edges.get(action) is None for action in actions)

    def has_known_edges(self, step: BaseNode) -> bool:
        """Return whether the step is reached, and only its edges choose what comes next."""
        return id(step) in self.reached_ids and not self.is_routed


# ---- checks of one step ----------------------------------------------------------------------------------------------


def _overwritten_edges(steps: _Steps, step: BaseNode) -> Iterator[Problem]:
    for text in step.overwritten:
        yield Problem("overwritten", steps.path(step), text)


def _misspelt_hooks(steps: _Steps, step: BaseNode) -> Iterator[Problem]:
    """Yield a problem for each method that nothing calls and whose name is nearly that of a hook the class lacks."""
    if is_library_class(type(step)):
        return
    dialect = type(step)._dialect
    defined = defined_hooks(step)
    missing = [getattr(dialect, role)[0] for role in ROLES if role not in defined]
    classes = [cls for cls in type(step).__mro__ if hasattr(cls, "_kind") and not is_library_class(cls)]
    methods = {name: value for cls in classes for name, value in vars(cls).items() if isinstance(value, FunctionType)}
    called = {name for method in methods.values() for name in method.__code__.co_names}
    for name in methods:
        if name.startswith("_") or name in called or hasattr(BaseNode, name) or name in dialect.names():
            continue
        for hook in missing:
            if name == f"{hook}_async":
                text = f"nothing calls its method {name}; write async def {hook}"
            elif _is_near_hook(name, hook):
                text = f"nothing calls its method {name}; did you mean {hook}?"
            else:
                continue
            yield Problem("misspelt", steps.path(step), text)


def _is_near_hook(name: str, hook: str) -> bool:
    """Return whether a name is a hook's name with one typing error, and not another word."""
    if name == "fallback":
        return hook == "exec_fallback"
    same_start = name[:1].lower() == hook[:1]
    return same_start and difflib.SequenceMatcher(None, name.lower(), hook).ratio() > 0.84


def _missing_edges(steps: _Steps, step: BaseNode) -> Iterator[Problem]:
    edges = step.successors
    if not edges or not steps.has_known_edges(step):
        return
    usable = steps.usable[id(step)]
    returns = "may end with" if returns_last_action(step) else "may return"
    for action in steps.returned.of(step).unchecked:
        if action in edges or action in steps.leads_on:
            continue
        if steps.slips.is_new_slip(step, action, usable, steps.reached):
            hint = did_you_mean(action, edges)
            text = f"{returns} {quoted(action)}, but has no edge for it{hint}: the flow ends there."
            yield Problem("no_edge", steps.path(step), text, action)


def _unused_edges(steps: _Steps, step: BaseNode) -> Iterator[Problem]:
    if not steps.has_known_edges(step):
        return
    usable = steps.usable[id(step)]
    for action, target in step.successors.items():
        if action not in usable and target is not None:
            actions = ", ".join(map(quoted, steps.returned.of(step).actions))
            returns = "ends with" if returns_last_action(step) else "post returns"
            reason = f"{returns} {actions}" if actions else "it never ends"
            edge = quoted(action)
            text = f"the edge {edge} is never taken: {reason}. node.successors.pop({edge}) removes it."
            yield Problem("unused_edge", steps.path(step), text, action)


STEP_CHECKS: tuple[Callable[[_Steps, BaseNode], Iterator[Problem]], ...] = (
    _overwritten_edges,
    _misspelt_hooks,
    _missing_edges,
    _unused_edges,
)

# ---- checks of all steps of a flow together --------------------------------------------------------------------------


def _unreachable_steps(steps: _Steps) -> Iterator[Problem]:
    for step in steps.nodes:
        if id(step) not in steps.reached_ids:
            text = "it is never reached: only edges that are never taken lead to it."
            yield Problem("unreachable", steps.path(step), text)


def _endless_loop(steps: _Steps) -> Iterator[Problem]:
    """Yield a problem for the steps from which a run can reach no step after which the flow can end."""
    targets = {id(step): [t for t in steps.usable[id(step)].values() if t is not None] for step in steps.nodes}
    sources: dict[int, list[int]] = {}
    for step in steps.reached:
        for target in targets[id(step)]:
            sources.setdefault(id(target), []).append(id(step))
    can_end = [id(step) for step in steps.reached if steps.can_end_after(step)]
    seen = set(can_end)
    for end in can_end:  # grows as it is read
        for source in sources.get(end, []):
            if source not in seen:
                seen.add(source)
                can_end.append(source)
    stuck = [step for step in steps.reached if id(step) not in seen]
    while True:  # drop the steps that only lead to the loop
        entered = {id(target) for step in stuck for target in targets[id(step)]}
        if all(id(step) in entered for step in stuck):
            break
        stuck = [step for step in stuck if id(step) in entered]
    if stuck:
        loop = ", ".join(steps.names[id(step)] for step in stuck[:5]) + (", ..." if len(stuck) > 5 else "")
        text = f"a run cannot leave the loop {loop}: every action that its posts return leads back into the loop."
        yield Problem("endless", steps.path(stuck[0]), text)


FLOW_CHECKS: tuple[Callable[[_Steps], Iterator[Problem]], ...] = (_unreachable_steps, _endless_loop)
