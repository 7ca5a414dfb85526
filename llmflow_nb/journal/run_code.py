"""The fingerprints of the code of runs with a journal."""

import weakref

from ..core.fingerprint import Fingerprints
from ..core.node import BaseNode
from ..core.traversal import within

__all__ = ["RunCode"]

_shared = Fingerprints()
"""Of one run after the other. What code changes in its own data during a run, such as a log, is no edit of the user."""
_owner: "weakref.ref[RunCode] | None" = None
"""The run that uses them now; it may have been interrupted at any line."""
_latest: "weakref.ref[BaseNode] | None" = None
"""The node that the code was last read for. To compare the code of all flows of a kernel would take ever longer."""


class RunCode:
    """The fingerprints that one run uses. A run beside it has its own, unless they were lent to its node.

    Attributes:
        fingerprints: Of the code as it is now.
    """

    def __init__(self, node: BaseNode) -> None:
        """Begin a run of a node."""
        global _owner, _latest
        self._nodes = [node]
        owner: RunCode | None = None if _owner is None else _owner()
        self.fingerprints: Fingerprints
        if owner is not None and any(lent is node for lent in owner._nodes[1:]):
            self.fingerprints = owner.fingerprints
            return
        is_free = owner is None
        if is_free:
            _owner = weakref.ref(self)
            if _latest is not None and _latest() is node:
                _shared.forget()
            else:
                _shared.forget_all()
                _latest = weakref.ref(node)
        self.fingerprints = _shared if is_free else Fingerprints()

    def lend(self, node: BaseNode) -> None:
        """Let the runs of another node, such as a copy of this one, use these fingerprints."""
        self._nodes.append(node)

    def close(self) -> None:
        """End the run."""
        global _owner
        if _owner is None or _owner() is not self:
            return
        try:
            _shared.settle(step for node in self._nodes for step in within(node))
        finally:
            _owner = None
