"""Breakpoints: where a stepper stops automatically."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

from ..core.errors import SettingError, did_you_mean
from ..core.node import BaseNode, label
from ..core.settings import is_whole
from ..core.text import message, quoted
from ..core.traversal import last_name, within
from ..engine.position import AFTER_POST, BEFORE_PREP
from .location import Location

__all__ = ["Breakpoint", "Breakpoints"]

When = Literal["before", "after"]
_MASKS = {"before": BEFORE_PREP, "after": AFTER_POST}


@dataclass(frozen=True, slots=True)
class Breakpoint:
    """A number, and what `Breakpoints.add` was given."""

    number: int
    node: BaseNode | str | None
    when: When
    visit: int | None
    action: str | None
    where: Callable[[Any], Any] | None

    def __str__(self) -> str:
        """Return it as text."""
        node = "any node" if self.node is None else self.node if isinstance(self.node, str) else label(self.node)
        words = f"{self.number}: {self.when} {node}"
        words += "" if self.visit is None else f", visit {self.visit}"
        words += "" if self.action is None else f", on {quoted(self.action)}"
        words += "" if self.where is None else f", where {getattr(self.where, '__name__', 'it holds')}"
        return message(words)

    __repr__ = __str__

    @property
    def is_plain(self) -> bool:
        """Whether it stops before each visit of its node."""
        return self.when == "before" and self.visit is None and self.where is None

    def matches(self, here: Location, node: BaseNode) -> bool:
        """Whether all conditions but ``where`` hold."""
        is_named = isinstance(self.node, str) and self.node in (here.path, last_name(here.path), label(node))
        return (
            here.boundary.mask == _MASKS[self.when]
            and (self.node is None or self.node is node or is_named)
            and self.visit in (None, here.visit)
            and self.action in (None, here.action or "default")
        )


class Breakpoints:
    """The breakpoints of one stepper.

    Attributes:
        on_exception: True, the default: if a node fails, the stepper stops before the failed hook and keeps the
            exception in `Stepper.error`. False: it also raises the exception.
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
        """Add a breakpoint. Commands stop there if all given conditions hold.

        Args:
            node: A node, its name, or its path. None: any node.
            when: "before" its prep or "after" its post. With an ``action`` always "after".
            visit: The number of the visit in this pass through the flow, from 1.
            action: What ``post`` returned; "default" if it returned None.
            where: A function of ``shared`` that returns whether to stop.

        Raises:
            ValueError: There is no such node, or no condition was given.
        """
        if node is None and visit is None and action is None and where is None:
            raise SettingError("breakpoints.add(): give a node, a visit, an action, or where=.")
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
            raise SettingError(f"breakpoints.add({quoted(node)}): this node is not in the flow.")
        found = Breakpoint(next(self._numbers), node, "after" if action is not None else when, visit, action, where)
        self._all[found.number] = found
        return found

    def remove(self, number: int | Breakpoint) -> None:
        """Remove a breakpoint, by its number.

        Raises:
            ValueError: There is no such breakpoint.
        """
        number = number.number if isinstance(number, Breakpoint) else number
        if self._all.pop(number, None) is None:
            raise SettingError(
                f"breakpoints.remove({quoted(number)}): there is no such breakpoint; the numbers are {list(self._all)}."
            )

    def clear(self) -> None:
        """Remove all breakpoints."""
        self._all.clear()

    def __iter__(self) -> Iterator[Breakpoint]:
        return iter(list(self._all.values()))

    def __len__(self) -> int:
        return len(self._all)

    def __repr__(self) -> str:
        """Return them as text, a line each."""
        return "\n".join(map(str, self)) or "no breakpoints"

    @property
    def need_actions(self) -> bool:
        """Whether any of them stops after a post."""
        return any(found.when == "after" for found in self)
