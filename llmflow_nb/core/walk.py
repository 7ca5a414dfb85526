"""Which nodes a flow reaches, what to call them there, and whether it contains itself."""

import itertools
from collections import defaultdict
from collections.abc import Iterator

from .errors import WiringError, a_type
from .hooks import hooks_of
from .node import BaseNode, kind_of, label
from .text import quoted, shown

__all__ = ["check_flows", "last_name", "names_within", "overwritten_edges", "path_part", "reachable", "within"]


def reachable(start: BaseNode | None) -> list[BaseNode]:
    """Return the nodes that can be reached from ``start`` along the edges, in breadth-first order, each once.

    Raises:
        WiringError: An edge leads to what is no node; only who writes into ``successors`` can have put it there.
    """
    found = [] if start is None else [start]
    seen = {id(start)}
    for node in found:  # grows as it is read
        for action, target in node.successors.items():
            if target is not None and id(target) not in seen:
                if getattr(type(target), "_kind", None) is None:
                    raise WiringError(
                        f"the edge {quoted(action)} of {shown(label(node))} leads to {a_type(target)}, "
                        "which is no node."
                    )
                seen.add(id(target))
                found.append(target)
    return found


def names_within(start: BaseNode | None) -> dict[int, str]:
    """Return ``{id(node): name}`` for the nodes reached from ``start``; a name met again becomes ``Name#2``.

    The names differ as parts of a path, and no number is given that another node has in its own name.
    """
    names: dict[int, str] = {}
    nodes = reachable(start)
    given = {path_part(label(node)) for node in nodes}
    taken: set[str] = set()
    numbers: dict[str, Iterator[int]] = defaultdict(lambda: itertools.count(2))
    for node in nodes:
        name = label(node)
        if path_part(name) in taken:
            numbered = (f"{name}#{n}" for n in numbers[path_part(name)])
            name = next(other for other in numbered if path_part(other) not in given and path_part(other) not in taken)
        taken.add(path_part(name))
        names[id(node)] = name
    return names


def path_part(name: str) -> str:
    """Return a name as it stands in a path, where "/" is between names: one of its own looks like it, but is another.

    >>> path_part("load/parse") == "load\N{DIVISION SLASH}parse"
    True
    """
    return name.replace("/", _SLASH)


def last_name(path: str) -> str:
    """Return the name that a path ends with, as the node has it."""
    return path.rpartition("/")[2].replace(_SLASH, "/")


_SLASH = "\N{DIVISION SLASH}"


def within(root: BaseNode) -> list[BaseNode]:
    """Return a node and, where it is a flow, every node in it at any depth, each once."""
    found, seen = [root], {id(root)}
    for node in found:  # grows as it is read
        for step in reachable(getattr(node, "start_node", None)) if kind_of(node) in ("flow", "batch_flow") else ():
            if id(step) not in seen:
                seen.add(id(step))
                found.append(step)
    return found


def overwritten_edges(root: BaseNode) -> list[str]:
    """Return what `BaseNode.next` had to say of edges, within this node, that were wired to another target later."""
    return [text for node in within(root) for text in node.__dict__.get("overwritten", ())]


def inner_flows(flow: BaseNode) -> list[BaseNode]:
    """Return the flows that are steps of this flow."""
    return [node for node in reachable(getattr(flow, "start_node", None)) if kind_of(node) in ("flow", "batch_flow")]


def check_flows(root: BaseNode) -> None:
    """Refuse, before anything runs, a flow that has no start or that is, at some depth, a step of itself.

    Raises:
        WiringError: Names the flow without a start, or shows the way from the flow back to itself.
    """
    _check_start(root)
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
            _check_start(inner, "".join(f"{path_part(label(f))}/" for f, _ in stack))
            open_ids.add(id(inner))
            stack.append((inner, iter(inner_flows(inner))))


def _check_start(flow: BaseNode, way: str = "") -> None:
    """A flow with a prep of its own may set its start there; any other one has it by now, or never."""
    if kind_of(flow) in ("flow", "batch_flow") and flow.start_node is None and "prep" not in hooks_of(flow).own:  # type: ignore[attr-defined]
        raise no_start(flow, way + path_part(label(flow)))


def no_start(flow: BaseNode, path: str) -> WiringError:
    """The error of a flow without a start."""
    return WiringError(f"{path} has no start node; write {type(flow).__name__}(start=node) or flow.start(node).")
