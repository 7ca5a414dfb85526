"""Copies of a flow and of ``shared``, which can run without any effect on the originals."""

import copy
from collections.abc import MutableMapping
from typing import Any

from ..core.copying import Copier
from ..core.errors import SettingError, a_type
from ..core.node import BaseNode
from ..core.traversal import within

__all__ = ["copied_nodes", "copied_shared"]


def copied_nodes(root: BaseNode, copier: Copier) -> BaseNode:
    """Return a copy of a flow: other nodes with other attributes, wired in the same way."""
    nodes = within(root)
    twins = {id(node): copy.copy(node) for node in nodes}
    for node in nodes:
        twin = twins[id(node)]
        for name in vars(node).keys() - {"successors", "start_node", "last_run"}:
            twin.__dict__[name] = copier.copy(vars(node)[name])
        twin.successors = {action: twins.get(id(target), target) for action, target in node.successors.items()}
        if "start_node" in vars(node):
            twin.__dict__["start_node"] = twins.get(id(vars(node)["start_node"]))
    return twins[id(root)]


def copied_shared(shared: Any, copier: Copier, so_what: str) -> Any:
    """Return a copy of ``shared``.

    Args:
        shared: The object that the hooks read and write.
        copier: Copies its values.
        so_what: What is not possible without a copy, for the error.

    Raises:
        SettingError: It cannot be copied.
    """
    twin = copier.copy(shared)
    if twin is not shared or shared is None:
        return twin
    try:
        twin = copy.copy(shared)
    except Exception:  # a class may refuse it in any way
        twin = shared
    if twin is shared:
        raise SettingError(f"shared is {a_type(shared)}, which cannot be copied, so {so_what}.")
    if isinstance(twin, MutableMapping):
        for key, value in shared.items():
            twin[key] = copier.copy(value)
    for name, value in getattr(shared, "__dict__", {}).items():
        twin.__dict__[name] = copier.copy(value)
    return twin
