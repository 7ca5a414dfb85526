"""Find actions without an edge that are probably mistakes: the edge is missing or misspelt.

Other such actions end the flow on purpose, as in PocketFlow programs.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from ..core.hooks import is_library_class
from ..core.near import closest, is_one_slip
from ..core.node import BaseNode, kind_of
from ..core.traversal import FLOWS, reachable, within
from .returns import ReturnedActions, returns_last_action

__all__ = ["Slips", "is_an_ending"]


class Slips:
    """Finds the slips in a flow. Reports each action once per class."""

    def __init__(self, root: BaseNode, returned: ReturnedActions) -> None:
        self._returned = returned
        self._reported: set[tuple[object, str]] = set()
        self._classes_ending_with: defaultdict[str, set[object]] = defaultdict(set)
        roots = [root] if kind_of(root) in FLOWS else reachable(root)
        for step in {id(step): step for node in roots for step in within(node)}.values():
            for action in () if returns_last_action(step) else self._ends_of(step):
                self._classes_ending_with[action].add(_class_key(step))

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
        if key in self._reported:
            return False
        if self._has_other_name(step, action) or self._is_forgotten(step, action, usable, reached):
            self._reported.add(key)
            return True
        return False

    def _has_other_name(self, step: BaseNode, action: str) -> bool:
        """Return whether the step probably has an edge for this action, under another name."""
        actions, is_complete, _ = self._returned.of(step)
        edges = step.successors
        near = closest(action, edges)
        if near is not None and (near not in actions or is_one_slip(action, near)):
            return True
        # If the action of an edge is never returned, one of the two names is wrong.
        return is_complete and any(target is not None and other not in actions for other, target in edges.items())

    def _is_forgotten(
        self, step: BaseNode, action: str, usable: Mapping[str, BaseNode | None], reached: Sequence[BaseNode]
    ) -> bool:
        """Return whether an action seems to name a next step, as others of the step do, and the flow ends elsewhere."""
        return (
            action != "default"
            and not is_an_ending(action)
            and any(usable.get(other) is not None for other in self._returned.of(step).actions)
            and self._classes_ending_with[action] == {_class_key(step)}
            and any(self._ends_of(other) for other in reached if other is not step)
        )


def _class_key(step: BaseNode) -> object:
    """Return the class of a step; for the library's own classes, which are placeholders, the step itself."""
    return id(step) if is_library_class(type(step)) else type(step)


# ---- words that end a flow -------------------------------------------------------------------------------------------

# fmt: off
_ENDINGS = frozenset((
    "abort", "accept", "approve", "break", "bye", "cancel", "close", "complete", "continue", "default",
    "deny", "done", "empty", "end", "error", "exceed", "exhaust", "exit", "fail", "false", "finish", "found",
    "give", "goodbye", "halt", "ignore", "invalid", "limit", "many", "max", "miss", "never", "next", "no",
    "none", "not", "ok", "okay", "over", "pass", "pause", "quit", "ready", "reject", "return", "safe", "skip",
    "stop", "success", "suspend", "terminate", "timeout", "too", "true", "unsafe", "up", "valid", "wait",
    "yes",
))
# fmt: on
_SUFFIXES = ("ed", "d", "s", "ing", "ped", "led", "ure", "ful")


def is_an_ending(action: str) -> bool:
    """Return whether an action tells an outcome or an end: "end", "no_results", "approved"."""
    words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", action).lower())
    return any(stem in _ENDINGS for word in words for stem in _stems(word))


def _stems(word: str) -> Iterator[str]:
    """Yield the words of which a word may be a form: "failed" and "failure" are forms of "fail"."""
    yield word
    for suffix in _SUFFIXES:
        if word.endswith(suffix):
            yield word.removesuffix(suffix)
            yield word.removesuffix(suffix) + "e"
    if word.endswith("ied"):
        yield word[:-3] + "y"
