"""Copy nodes: shallowly for a visit, deeply with a whole flow, and as a pickle.

Python copies and pickles recursively, one level for each node of a chain, and fails after some hundred nodes. So this
file first collects the nodes, copies each without its edges, and sets the edges at the end. In a pickle, all nodes
refer to one `_Wiring`, which has the nodes and their edges in flat lists.
"""

import copy
from contextlib import suppress
from types import MemberDescriptorType
from typing import Any, ClassVar
from weakref import WeakValueDictionary

_LEFT_OUT = frozenset({"successors", "start_node", "last_run"})
"""The attributes that are not part of a node's state: its edges, and the record of its latest run."""


def plain_copy(node: Any) -> Any:
    """Return a shallow copy of a node for ``__copy__``, without the pickling methods of its class."""
    cls = type(node)
    try:
        twin = object.__new__(cls)
    except TypeError:  # a class with another builtin base, such as a dict
        return copy._reconstruct(node, None, *object.__reduce_ex__(node, 4))  # type: ignore[attr-defined]
    twin.__dict__.update(node.__dict__)
    twin.__dict__.pop("last_run", None)
    for base in cls.__mro__:
        for slot in vars(base).values():
            if isinstance(slot, MemberDescriptorType):
                with suppress(AttributeError):  # not set
                    slot.__set__(twin, slot.__get__(node))
    return twin


def deep_copied(root: Any, memo: dict[int, Any]) -> Any:
    """Return a deep copy of a node and of all nodes that it leads to, for ``__deepcopy__``."""
    nodes = [node for node in _within(root) if id(node) not in memo]
    parts = [_parts(node, 4) for node in nodes]
    for node, (make, args, *_) in zip(nodes, parts, strict=True):
        memo[id(node)] = make(*copy.deepcopy(args, memo))
    for node, (_, _, state, *_) in zip(nodes, parts, strict=True):
        if state is not None:
            _set_state(memo[id(node)], copy.deepcopy(state, memo))
    for node in nodes:
        successors = {action: memo.get(id(target), target) for action, target in node.successors.items()}
        start = node.__dict__.get("start_node")
        _wire(memo[id(node)], successors, memo.get(id(start), start))
    memo.setdefault(id(memo), []).extend(nodes)  # as deepcopy does, so that no id is reused
    return memo[id(root)]


def reduced(node: Any, protocol: Any) -> Any:
    """Return the result of ``__reduce_ex__`` for a node."""
    make, args, state, *rest = _parts(node, protocol)
    if not node.successors and node.__dict__.get("start_node") is None:
        return (make, args, state, *rest)
    rest = [*rest, None, None][:2]
    return (make, args, (state, _Wiring.of(node)), *rest, _set_state_and_edges)


def _within(*roots: Any) -> list[Any]:
    """Return some nodes and all that can be reached from them, at any depth, each once."""
    found, seen = list(roots), {id(root) for root in roots}
    for node in found:  # it grows meanwhile
        for target in (*node.successors.values(), node.__dict__.get("start_node")):
            if id(target) not in seen and hasattr(type(target), "_kind"):
                seen.add(id(target))
                found.append(target)
    return found


def _parts(node: Any, protocol: Any) -> tuple[Any, ...]:
    """Return the result of ``object.__reduce_ex__`` for a node, with a state that has no edges."""
    parts: Any = object.__reduce_ex__(node, max(protocol, 2))  # it calls the class's __reduce__ and __getstate__
    make, args, *rest = parts
    state, *rest = rest or [None]
    if isinstance(state, dict):
        state = _without_edges(state)
    elif isinstance(state, tuple) and len(state) == 2 and isinstance(state[0], dict):  # of a class with __slots__
        state = _without_edges(state[0]), state[1]
    return make, args, state, *rest


def _without_edges(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name not in _LEFT_OUT}


def _wire(node: Any, successors: dict[str, Any], start: Any) -> None:
    node.__dict__["successors"] = successors
    if start is not None:
        node.__dict__["start_node"] = start


def _set_state(node: Any, state: Any) -> None:
    """Set the state of a node, as ``copy`` and ``pickle`` do."""
    if hasattr(node, "__setstate__"):
        node.__setstate__(state)
        return
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    node.__dict__.update(attributes or {})
    for name, value in (slots or {}).items():
        object.__setattr__(node, name, value)


def _set_state_and_edges(node: Any, state_and_wiring: tuple[Any, "_Wiring"]) -> None:
    """Set the state of an unpickled node, and its edges if they are known."""
    state, wiring = state_and_wiring
    if state is not None:
        _set_state(node, state)
    wiring.wire(node)


class _Wiring:
    """The nodes of a pickled flow and their edges. All nodes of one pickle refer to the same object.

    They find it by their id as long as a pickler refers to it. It reads the edges when it is pickled itself, so an
    object from an earlier pickle works too.
    """

    _of_nodes: ClassVar["WeakValueDictionary[int, _Wiring]"] = WeakValueDictionary()

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.edges: dict[int, tuple[dict[str, Any], Any]] = {}

    @classmethod
    def of(cls, node: Any) -> "_Wiring":
        wiring = cls._of_nodes.get(id(node))
        if wiring is None:
            wiring = cls()
            wiring.nodes = _within(node)
            cls._of_nodes.update((id(each), wiring) for each in wiring.nodes)
        return wiring

    def __reduce__(self) -> tuple[Any, ...]:
        nodes = _within(*self.nodes)  # all nodes come before the edges, so that each edge leads to a complete node
        return _Wiring, (), (nodes, [(node.successors, node.__dict__.get("start_node")) for node in nodes])

    def __setstate__(self, state: tuple[list[Any], list[tuple[dict[str, Any], Any]]]) -> None:
        nodes, edges = state
        self.edges = {id(node): of_node for node, of_node in zip(nodes, edges, strict=True)}
        for node in nodes:
            self.wire(node)

    def wire(self, node: Any) -> None:
        """Set the edges of a node if they are known."""
        if id(node) in self.edges:
            _wire(node, *self.edges[id(node)])
