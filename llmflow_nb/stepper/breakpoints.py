"""Where a stepper that runs on is to stop."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

from ..core.errors import SettingError, did_you_mean
from ..core.node import BaseNode, label
from ..core.settings import is_whole
from ..core.text import message, quoted
from ..core.traversal import last_name, within
from .place import Place

__all__ = ["Breakpoint", "Breakpoints"]

When = Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class Breakpoint:
    """One reason to stop. It stays until it is removed.

    Attributes:
        number: Its own, to remove it by.
        node: A node, the name of one, or its path; None: any.
        when: "before" its prep, or "after" its post, when the action is there.
        visit: Only at this pass of the node, from 1; None: at each.
        action: Only when ``post`` returned this; None: whatever it returned.
        where: Only when this function of ``shared`` returns a true value; None: always.
    """

    number: int
    node: BaseNode | str | None
    when: When
    visit: int | None
    action: str | None
    where: Callable[[Any], Any] | None

    def __str__(self) -> str:
        """Return it in words."""
        node = "any node" if self.node is None else self.node if isinstance(self.node, str) else label(self.node)
        words = f"{self.number}: {self.when} {node}"
        words += "" if self.visit is None else f", visit {self.visit}"
        words += "" if self.action is None else f", on {quoted(self.action)}"
        words += "" if self.where is None else f", where {getattr(self.where, '__name__', 'it holds')}"
        return message(words)

    __repr__ = __str__

    def stops_at(self, place: Place, node: BaseNode, shared: Any) -> bool:
        """Whether this is a place to stop at."""
        if place.phase != ("before prep" if self.when == "before" else "after post"):
            return False
        if isinstance(self.node, str):
            if self.node not in (place.path, last_name(place.path), label(node)):
                return False
        elif self.node is not None and self.node is not node:
            return False
        if self.visit is not None and self.visit != place.visit:
            return False
        if self.action is not None and self.action != (place.action or "default"):
            return False
        return self.where is None or bool(self.where(shared))


class Breakpoints:
    """The breakpoints of one stepper.

    Attributes:
        on_exception: What happens where a node fails. True, the default: the stepper stops before the failed step and
            keeps the exception in `Stepper.error`. False: the exception is raised, too.
    """

    def __init__(self, root: BaseNode) -> None:
        self._root = root
        self._all: dict[int, Breakpoint] = {}
        self._numbers = count(1)
        self.on_exception = True

    def add(
        self,
        node: BaseNode | str | None = None,
        *,
        when: When = "before",
        visit: int | None = None,
        action: str | None = None,
        where: Callable[[Any], Any] | None = None,
    ) -> Breakpoint:
        """Stop there from now on.

        Where a node fails, the stepper stops without a breakpoint. ``breakpoints.on_exception = False`` has the
        exception raised instead.

        Args:
            node: The node, its name, or its path; None: any.
            when: "before" its prep or "after" its post. With an ``action`` it is always after.
            visit: Only at this pass of the node on its walk, from 1.
            action: Only when ``post`` returned this action; "default" for none.
            where: Called with ``shared``; only when it returns a true value.

        Raises:
            ValueError: There is no such node, or nothing was said of when to stop.
        """
        if node is None and visit is None and action is None and where is None:
            raise SettingError("breakpoints.add(): say at which node, visit or action, or where=, to stop.")
        if where is not None and not callable(where):
            raise SettingError(f"breakpoints.add(where={quoted(where)}): it must be a function of shared.")
        if visit is not None and (not is_whole(visit) or visit < 1):
            raise SettingError(f"breakpoints.add(visit={quoted(visit)}): it must be 1 or more.")
        if when not in ("before", "after"):
            raise SettingError(f"breakpoints.add(when={quoted(when)}): it must be 'before' or 'after'.")
        steps = within(self._root)
        if isinstance(node, str):
            names = {label(step) for step in steps}
            if node not in names and last_name(node).partition("#")[0] not in names:
                raise SettingError(
                    f"breakpoints.add({quoted(node)}): there is no such node{did_you_mean(node, names)}."
                )
        elif node is not None and not any(step is node for step in steps):
            raise SettingError(f"breakpoints.add({quoted(node)}): this node is not within the flow.")
        found = Breakpoint(next(self._numbers), node, "after" if action is not None else when, visit, action, where)
        self._all[found.number] = found
        return found

    def remove(self, number: int | Breakpoint) -> None:
        """Stop there no more.

        Raises:
            ValueError: There is no such breakpoint.
        """
        number = number.number if isinstance(number, Breakpoint) else number
        if self._all.pop(number, None) is None:
            raise SettingError(f"breakpoints.remove({quoted(number)}): there are {list(self._all)}.")

    def clear(self) -> None:
        """Remove all."""
        self._all.clear()

    def __iter__(self) -> Iterator[Breakpoint]:
        return iter(list(self._all.values()))

    def __len__(self) -> int:
        return len(self._all)

    def __repr__(self) -> str:
        """Return them in words, a line each."""
        return "\n".join(map(str, self)) or "no breakpoints"

    @property
    def need_actions(self) -> bool:
        """Whether one of them stops after a post."""
        return any(found.when == "after" for found in self)
