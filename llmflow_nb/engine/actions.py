"""The action that ``post`` returned, and the edge that it selects: the possible mistakes and their messages."""

from itertools import pairwise
from typing import Any

from ..core.errors import HookReturnError, LostActionError, MaxStepsError, a_type, did_you_mean, warn
from ..core.node import check_node, label
from ..core.text import quoted, shown
from .awaitables import discard, is_awaitable
from .plan import Plan
from .position import CHECK_EVERY, Frame
from .setup import Setup

__all__ = ["check_action", "check_steps", "lost_action", "lost_text", "route"]


def check_action(plan: Plan, action: Any) -> None:
    """Refuse what ``post`` returned, if it is no action.

    Raises:
        HookReturnError: Names the hook and the type.
    """
    __tracebackhide__ = True
    if isinstance(action, str) or (plan.facts.any_action and _is_hashable(action)):
        return
    found = a_type(action)
    if is_awaitable(action):  # of a coroutine that returned another one
        discard(action)
        found = f"a coroutine ({getattr(action, '__qualname__', type(action).__name__)}) that was never awaited"
    raise HookReturnError(
        f"{plan.path}.{plan.facts.hooks.post} returned {found}; an action is a string or None. Put values in shared "
        "instead."
    )


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def lost_action(setup: Setup, frames: list[Frame], action: Any, known: list[str]) -> None:
    """Warn that there is no edge for an action, in the words of PocketFlow.

    It does not warn if the action leaves the flow on purpose: the edge leads to None, or a flow around it has an edge
    for the action. If the action ends several nested flows, only the innermost one warns.

    Raises:
        LostActionError: The flow is strict.
    """
    __tracebackhide__ = True
    if (action or "default") in known:
        return
    frame = frames[-1]
    has_warned = frame.has_warned and frame.plan.facts.hands_on and not frame.plan.facts.any_action
    frame.has_warned = True
    if has_warned or _leads_on(frames, action):
        return
    setup.recorder.add_missing_edge(frame.plan.path, action, known)
    text = lost_text(frame.plan.path, frame.plan.facts.hooks.post, action, known)
    if frame.walk.owner.settings.strict:
        raise LostActionError(text, action, known)
    warn(text)


def lost_text(path: str, post: str, action: Any, known: list[str]) -> str:
    """Return the message that there is no edge for an action, in the words of PocketFlow, with its path and a hint."""
    hint = did_you_mean(action, known) if action else f" ({post} returned {quoted(action)})"
    found = f"'{'' if action == '' else shown(action)}' not found in {quoted(known, 1_000, elements=30)}"
    return f"Flow ends: {found}{hint}, at {shown(path, 320)}"


def route(flow: Any, visit: Any, action: Any) -> Any:
    """Return the node that a flow's own ``get_next_node`` chooses; None ends the walk.

    Raises:
        WiringTypeError: It returned something else.
    """
    target = flow.get_next_node(visit, action)
    if not target:  # as PocketFlow asks
        return None
    check_node(target, f"{label(flow)}.get_next_node must return a node, a flow or None")
    return target


def _leads_on(frames: list[Frame], action: Any) -> bool:
    """Whether the action that ends the top walk becomes the action of its flow, and has an edge in a flow around it."""
    if frames[-1].plan.facts.any_action:  # PocketFlow warns in any case
        return False
    for below, frame in reversed([*pairwise(frames)]):
        if not frame.walk.owner.facts.hands_on:
            return False
        if (action or "default") in below.node.successors:
            return True
    return False


def check_steps(frame: Frame, setup: Setup) -> None:
    """Refuse a visit above ``max_steps``. Otherwise let the recorder drop its oldest rows if there are too many.

    Raises:
        MaxStepsError: The walk has made ``max_steps`` visits.
    """
    walk = frame.walk
    if walk.steps > walk.max_steps:
        raise _endless(frame)
    setup.recorder.drop_old()
    walk.check_at = min(walk.steps + CHECK_EVERY, walk.max_steps)


def _endless(frame: Frame) -> Exception:
    """Return the error for an endless loop. It names the shortest cycle of edges through the current node."""
    origin, walk = frame.node, frame.walk
    way = {id(origin): [origin]}
    todo = [origin]
    for node in todo:
        for target in node.successors.values():
            if target is origin:
                cycle = " > ".join(shown(label(n)) for n in (*way[id(node)], origin))
                return MaxStepsError(
                    f"{walk.owner.path} made {walk.steps - 1} visits and is still in the loop {cycle}. If that is "
                    "intended, give the flow a larger max_steps (None for no limit). If a node counts its visits, let "
                    "it count in shared: every visit has a copy of the node."
                )
            if target is not None and id(target) not in way:
                way[id(target)] = [*way[id(node)], target]
                todo.append(target)
    return MaxStepsError(
        f"{walk.owner.path} made {walk.steps - 1} visits. If that is intended, give it a larger max_steps."
    )
