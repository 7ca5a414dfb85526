"""The wiring of a flow as JSON, and nodes without code that are wired in the same way.

A file has no code, so a run of it is shown with these nodes. They have the names, classes and settings that a graph
shows, and no hooks.
"""

import json
from typing import Any

from ..core.errors import RunStateError
from ..core.flow import BatchFlow, Flow
from ..core.node import BaseNode, BatchNode, Node, kind_of
from ..core.text import text_of
from ..core.traversal import FLOWS, names_of, path_part, reachable, within

__all__ = ["flow_from", "node_like", "nodes_by_path", "wiring_text"]

_CLASSES: dict[str, Any] = {"node": Node, "batch_node": BatchNode, "flow": Flow, "batch_flow": BatchFlow}
_SETTINGS = ("max_retries", "max_concurrency")
_MOST_PATHS = 10_000


def wiring_text(root: BaseNode) -> str:
    """Return the wiring of a flow as JSON: a list of its nodes, the flow itself first."""
    nodes = within(root)
    numbers = {id(node): n for n, node in enumerate(nodes)}
    return json.dumps([_described(node, numbers) for node in nodes])


def _described(node: BaseNode, numbers: dict[int, int]) -> dict[str, Any]:
    found: dict[str, Any] = {"class": type(node).__name__, "kind": kind_of(node)}
    if isinstance(node.name, str) and node.name:
        found["name"] = node.name
    for name in _SETTINGS:
        value = getattr(node, name, 1)
        if value != 1 and (value is None or type(value) is int):
            found[name] = value
    if kind_of(node) in FLOWS:
        start: Any = node.start_node  # type: ignore[attr-defined]
        found["start"] = None if start is None else numbers.get(id(start))
    steps = {text_of(action): target for action, target in node.successors.items()}
    if steps:
        found["next"] = {action: numbers.get(id(target)) for action, target in steps.items()}
    return found


def flow_from(text: str) -> BaseNode:
    """Return a flow without code that is wired as a text says.

    Raises:
        TypeError, ValueError, LookupError: The text is no wiring.
    """
    described = json.loads(text)
    nodes = [node_like(each["kind"], each["class"], each.get("name")) for each in described]
    for node, each in zip(nodes, described, strict=True):
        for name in _SETTINGS:
            value = each.get(name, 1)
            if value is None or type(value) is int:
                node.__dict__[name] = value
        if each.get("start") is not None:
            node.start_node = nodes[each["start"]]  # type: ignore[attr-defined]
        node.successors = {
            str(action): None if target is None else nodes[target] for action, target in each.get("next", {}).items()
        }
    return nodes[0]


def node_like(kind: str, class_name: str, name: str | None = None) -> BaseNode:
    """Return a node without code, of a class with this name."""
    base = _CLASSES[kind]
    namespace = {"__module__": __name__, "__qualname__": f"<journal>.{class_name}"}
    cls = type(str(class_name), (_WithoutCode, base), namespace)
    node: BaseNode = cls()
    if name is not None:
        node.name = str(name)
    return node


class _WithoutCode:
    """The hooks of a node that was read from a journal."""

    def prep(self, shared: Any) -> Any:
        """Refuse to run."""
        raise RunStateError("this node was read from a journal, which has no code; run the flow itself.")

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Return an action that nobody knows, as far as a graph of this node is concerned."""
        return self.prep(shared)


def nodes_by_path(root: BaseNode) -> dict[str, BaseNode]:
    """Return the nodes of a flow by their paths, at most 10,000."""
    found = {path_part(root.name or type(root).__name__): root}
    for path, node in found.copy().items():
        _add_steps(found, path, node, ())
    return found


def _add_steps(found: dict[str, BaseNode], path: str, flow: BaseNode, around: tuple[int, ...]) -> None:
    if kind_of(flow) not in FLOWS or id(flow) in around or len(found) > _MOST_PATHS:
        return
    steps = reachable(flow.start_node)  # type: ignore[attr-defined]
    for step, name in zip(steps, names_of(steps).values(), strict=True):
        inner = f"{path}/{path_part(name)}"
        found[inner] = step
        _add_steps(found, inner, step, (*around, id(flow)))
