"""Tell the actions that are meant to end a flow from slips: edges that were forgotten or misspelt.

PocketFlow programs end a flow by an action without an edge, so a missing edge is reported only if it looks like a slip.
"""

from collections.abc import Mapping, Sequence

from ..core.hooks import is_library_class
from ..core.near import closest, is_one_slip
from ..core.node import BaseNode, kind_of
from ..core.traversal import reachable, within
from .endings import is_an_ending
from .returns import ReturnedActions, returns_last_action

__all__ = ["Slips"]


class Slips:
    """Finds the slips in a flow. Reports each action once per class."""

    def __init__(self, root: BaseNode, returned: ReturnedActions) -> None:
        self._returned = returned
        self._reported: set[tuple[object, str]] = set()
        self._classes_ending_with: dict[str, set[object]] = {}
        roots = [root] if kind_of(root) in ("flow", "batch_flow") else reachable(root)
        for step in {id(step): step for node in roots for step in within(node)}.values():
            for action in () if returns_last_action(step) else self._ends_of(step):
                self._classes_ending_with.setdefault(action, set()).add(_class_key(step))

    def _ends_of(self, step: BaseNode) -> list[str]:
        """Return the known actions by which the flow ends after a step."""
        return [action for action in self._returned.of(step).actions if step.successors.get(action) is None]

    def is_new_slip(
        self, step: BaseNode, action: str, usable: Mapping[str, BaseNode | None], reached: Sequence[BaseNode]
    ) -> bool:
        """Return whether an action without an edge looks like a slip that was not reported for this class yet.

        Args:
            step: The step that may return it.
            action: The action.
            usable: The edges of the step that a run may take.
            reached: The steps of the flow that a run can reach.
        """
        key = _class_key(step), action
        if key in self._reported or not self._is_slip(step, action, usable, reached):
            return False
        self._reported.add(key)
        return True

    def _is_slip(
        self, step: BaseNode, action: str, usable: Mapping[str, BaseNode | None], reached: Sequence[BaseNode]
    ) -> bool:
        actions, is_complete, _ = self._returned.of(step)
        edges = step.successors
        near = closest(action, edges)
        if near is not None and (near not in actions or is_one_slip(action, near)):
            return True
        if is_complete and any(target is not None and other not in actions for other, target in edges.items()):
            return True  # the action of an edge is never returned, so one of the two names is wrong
        # The edge may be forgotten if the other actions of the step name a next step, this action seems to name one
        # too, and the flow ends elsewhere.
        return (
            action != "default"
            and not is_an_ending(action)
            and any(usable.get(other) is not None for other in actions)
            and self._classes_ending_with.get(action) == {_class_key(step)}
            and any(self._ends_of(other) for other in reached if other is not step)
        )


def _class_key(step: BaseNode) -> object:
    """Return the class of a step; for the library's own classes, which are placeholders, the step itself."""
    return id(step) if is_library_class(type(step)) else type(step)
