"""Which nodes a flow reaches, what to call them there, and whether it contains itself."""

from .errors import WiringError
from .node import BaseNode, kind_of, label

__all__ = ["check_containment", "names_within", "reachable"]


def reachable(start: BaseNode | None) -> list[BaseNode]:
    """Return the nodes that can be reached from ``start`` along the edges, in breadth-first order, each once."""
    found = [] if start is None else [start]
    seen = {id(start)}
    for node in found:  # grows as it is read
        for target in node.successors.values():
            if id(target) not in seen:
                seen.add(id(target))
                found.append(target)
    return found


def names_within(start: BaseNode | None) -> dict[int, str]:
    """Return ``{id(node): name}`` for the nodes reached from ``start``; a name met again becomes ``Name#2``."""
    names: dict[int, str] = {}
    taken: dict[str, int] = {}
    for node in reachable(start):
        name = label(node)
        taken[name] = taken.get(name, 0) + 1
        names[id(node)] = name if taken[name] == 1 else f"{name}#{taken[name]}"
    return names


def inner_flows(flow: BaseNode) -> list[BaseNode]:
    """Return the flows that are steps of this flow."""
    return [node for node in reachable(getattr(flow, "start_node", None)) if kind_of(node) in ("flow", "batch_flow")]


def check_containment(root: BaseNode) -> None:
    """Refuse a flow that is, at some depth, a step of itself.

    Raises:
        WiringError: Shows the way from the flow back to itself.
    """
    done: set[int] = set()
    open_ids: set[int] = {id(root)}
    stack = [(root, iter(inner_flows(root)))]
    while stack:
        flow, rest = stack[-1]
        inner = next(rest, None)
        if inner is None:
            stack.pop()
            open_ids.discard(id(flow))
            done.add(id(flow))
        elif id(inner) in open_ids:
            way = [f for f, _ in stack]
            way = way[next(i for i, f in enumerate(way) if f is inner) :]
            path = " > ".join(label(f) for f in (*way, inner))
            raise WiringError(
                f"{label(inner)} contains itself: {path}. Nothing was run; wire the inner step to another flow."
            )
        elif id(inner) not in done:
            open_ids.add(id(inner))
            stack.append((inner, iter(inner_flows(inner))))
