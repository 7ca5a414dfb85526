"""`Stepper`: the commands. What they move is in `session.py`, where they stop is a table in `commands.py`."""

import operator
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..core.api.display import ShownWithWidget
from ..core.errors import HookReturnError, RunStateError, SettingError, a_type, did_you_mean
from ..core.node import BaseNode, label
from ..core.settings import is_whole
from ..core.text import quoted
from ..engine.position import AFTER_POST, BEFORE_PREP, Position
from ..engine.setup import Setup
from ..journal.journal import as_journal
from .as_test import write_test
from .commands import RULES
from .history import HistoryEntry
from .location import Location, Pending, pending_at
from .replay import check_mock
from .session import Session
from .snapshots import Version, changes

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Stepper"]

MEGABYTE = 1_000_000


class Stepper(ShownWithWidget):
    """Run a flow one hook at a time, forwards and backwards, without calling a model twice for the same input.

    ``flow.stepper(shared)`` creates one. Each command returns a `Location`, which says where the stepper is now.

    * Forwards, ``prep`` and ``post`` run as in ``flow.run``. A result of ``exec`` is reused if the input, params, node
      attributes and code are equal (and ``shared``, if ``exec`` takes it). A node with ``volatile = True`` is called
      each time.
    * Each stop is a place with a number. `back` and `goto` restore ``shared`` as it was there. They cannot undo what a
      node did elsewhere, such as writing a file.
    * After going back, the commands first follow the places that are known already, and run no hooks there. `rerun`
      runs the hooks again.
    * If you change ``shared``, the code of a node, or one of its attributes, the next places form another branch. The
      old branch stays.
    * If a node fails, the stepper stays before the failed hook, and `error` is the exception. Correct the cause, and
      call `rerun`.

    Attributes:
        shared: The object that was given.
        root: The flow whose graph is shown.
        title: A heading for the widget, such as the row of a batch; "" for none.
        record: The `Run` of this stepper so far. ``node.last_run`` does not change.
        breakpoints: Where commands stop. Breakpoints stay until they are removed.
        notes: Hints for the user, such as keys of ``shared`` that cannot be restored. Each is given once.
    """

    _shown_as: ClassVar[str] = "stepper"

    def __init__(
        self,
        node: BaseNode,
        shared: Any,
        *,
        max_bytes: int = 256 * MEGABYTE,
        journal: Any = None,
        start: Callable[[Setup], Position] | None = None,
        root: BaseNode | None = None,
        title: str = "",
    ) -> None:
        """Create a stepper that is before the first hook.

        Args:
            node: A flow or a node.
            shared: What the hooks read and write, usually a dict.
            max_bytes: The approximate size of the history. Above it, the oldest places are evicted.
            journal: See `Flow.stepper`.
            start: Creates the position to start at, to open a stepper in the middle of a flow.
            root: The flow whose graph is shown. None: ``node``.
            title: A heading for the widget.

        Raises:
            WiringError: The flow has no start, or contains itself.
        """
        __tracebackhide__ = True
        if isinstance(max_bytes, bool) or not isinstance(max_bytes, int | float) or not max_bytes >= 0:
            raise SettingError(
                f"stepper(max_bytes={quoted(max_bytes)}): max_bytes must be a number of bytes, 0 or more."
            )
        known = None if journal is None else as_journal(journal, label(node))
        self._session = Session(node, shared, max_bytes, start, known)
        self.shared = shared
        self.root = node if root is None else root
        self.title = title
        self.record = self._session.record
        self.breakpoints = self._session.breakpoints
        self.notes = self._session.notes

    # ---- what there is to see ----------------------------------------------------------------------------------------

    @property
    def place(self) -> Location:
        """Where the stepper is."""
        return self._session.location

    @property
    def pending(self) -> Pending:
        """The input of the next step."""
        return pending_at(self._session.position, self.place)

    @property
    def error(self) -> BaseException | None:
        """The exception that the last step raised; None if it did not fail."""
        return self.place.error

    @property
    def called(self) -> int:
        """The number of calls of ``exec`` made by this stepper, on all branches."""
        return self._session.cache.counts["called"]

    @property
    def replayed(self) -> int:
        """The number of calls of ``exec`` that were answered by the result of an earlier call."""
        return self._session.cache.counts["replayed"]

    @property
    def history(self) -> "pd.DataFrame":
        """Return a `pandas.DataFrame` with a row for each visit from the first place to this one, in order.

        Columns: ``place`` (Int64, what `goto` takes), ``path``, ``node`` (string), ``visit`` (Int64), ``action``,
        ``status`` (string), ``seconds`` (Float64), ``calls`` (string: called, replayed, mocked, edited), ``changed``
        (string: the keys of ``shared``, or "no change"), ``output``, ``error`` (string).
        """
        from ..runs.tables import history_table

        return history_table(self._session.history.rows())

    @property
    def tree(self) -> str:
        """Return all places of all branches, a line each. An arrow marks the current one."""
        return Lines(self._session.history.tree())

    def diff(self, first: int, second: int | None = None) -> dict[Any, tuple[Any, Any]]:
        """Return the keys of ``shared`` that differ between two places, each with its two values.

        Args:
            first: The number of a place.
            second: The number of the other place. None: the current place.

        Raises:
            ValueError: There is no such place.
            RunStateError: A place was evicted, because the history exceeded its size.
        """
        session = self._session
        before = _entry(session, first)
        after = session.history.now if second is None else _entry(session, second)
        for entry in (before, after):
            entry.require_saved()
        found = changes(before.snapshot, after.snapshot)
        return {change.key: (_value(change.before), _value(change.after)) for change in found}

    def __repr__(self) -> str:
        """Return the current place in one line."""
        return f"<Stepper {self.place}>"

    # ---- forwards ----------------------------------------------------------------------------------------------------

    def into(self) -> Location:
        """Run one hook or one item of a batch, or enter a flow."""
        __tracebackhide__ = True
        return self._session.move(RULES["into"])

    def over(self) -> Location:
        """Run this node, with all nodes within it, and stop before the next one."""
        __tracebackhide__ = True
        return self._session.move(RULES["over"])

    def out(self) -> Location:
        """Run the rest of the flow that this node is in. Stop after it, or before its next param set."""
        __tracebackhide__ = True
        return self._session.move(RULES["out"])

    def to_item(self, item: int) -> Location:
        """Run a batch node until this number of its items is done.

        Raises:
            ValueError: This number of items is done already.
            RunStateError: The stepper is not at a batch node, or not before the end of its exec.
        """
        __tracebackhide__ = True
        here, plan = self.place, self._session.position.frames[-1].plan
        if plan.facts.kind != "batch_node" or "exec" not in here.boundary.next_hooks:
            raise RunStateError(f"to_item: {here.path}, {here.phase}, has no items left to run.")
        done = here.item or 0
        if not is_whole(item) or item <= done:
            raise SettingError(
                f"to_item({quoted(item)}): give the number of items to be done, more than {done}; back() goes back."
            )
        return self._session.move(RULES["to_item"], replace(here, item=item))

    def run(self) -> Location:
        """Run to the next breakpoint, or to the end."""
        __tracebackhide__ = True
        return self._session.move(RULES["run"])

    def rerun(self, *, call_again: bool = False) -> Location:
        """Run this node again up to the current place. If the place is before ``prep``, run the whole node.

        This begins a branch. After a failure, correct the cause and call this.

        Args:
            call_again: Call ``exec`` even if there is a result to reuse.
        """
        __tracebackhide__ = True
        session = self._session
        here, start = self.place, session.history.visit_start()
        with session.command():
            session.take_edits()
            if call_again:
                session.cache.fresh = here.path
            if start is not session.history.now or start.location.error is not None:
                session.go(start)
            is_within_visit = not here.is_end and here.boundary.mask != BEFORE_PREP
            return session.run_until(RULES["rerun" if is_within_visit else "over"], here)

    # ---- backwards ---------------------------------------------------------------------------------------------------

    def back(self, places: int = 1) -> Location:
        """Go back by a number of places, at most to the first. No hook is run.

        Raises:
            ValueError: ``places`` is below 1.
        """
        if not is_whole(places) or places < 1:
            raise SettingError(f"back({quoted(places)}): give the number of places, 1 or more.")
        entry = self._session.history.now
        for _ in range(places):
            entry = entry.parent or entry
        return self.goto(entry.number)

    def goto(self, number: int) -> Location:
        """Go to a place by its number in `history` or `tree`. No hook is run.

        Raises:
            ValueError: There is no such place.
            RunStateError: The place was evicted, because the history exceeded its size.
        """
        __tracebackhide__ = True
        session = self._session
        with session.command():
            session.take_edits()
            session.go(_entry(session, number))
        return self.place

    # ---- what if -----------------------------------------------------------------------------------------------------

    def set(self, key: Any, value: Any) -> Location:
        """Set a key of ``shared``. This begins a branch."""
        _edit(self._session, operator.setitem, key, value)
        return self.place

    def delete(self, key: Any) -> Location:
        """Delete a key of ``shared``. This begins a branch.

        Raises:
            ValueError: There is no such key.
        """
        values = self._session.snapshots.values or {}
        if key not in values:
            raise SettingError(
                f"delete({quoted(key)}): shared has no such key; it has {quoted(list(values), 400, elements=20)}."
            )
        _edit(self._session, operator.delitem, key)
        return self.place

    def force(self, action: str | None) -> Location:
        """Run this node to the end of its post, and replace the action that it chose.

        Raises:
            TypeError: The action is not a string.
        """
        __tracebackhide__ = True
        if action is not None and not isinstance(action, str):
            raise HookReturnError(f"force({quoted(action)}): an action is a string or None, not {a_type(action)}.")
        session, here, rule = self._session, self.place, RULES["through post"]
        if here.is_end:
            raise RunStateError("force: the run has ended; go back to the node that should choose another action.")
        if here.boundary.mask != AFTER_POST:
            here = session.move(rule)
            if self.error is not None or here.boundary.mask != AFTER_POST:
                return here
        with session.command():
            frame = session.position.frames[-1]
            frame.action = action
            edges = frame.node.successors
            is_lost = bool(edges) and (action or "default") not in edges
            hint = f", for which there is no edge{did_you_mean(action, edges)}" if is_lost else ""
            session.add_entry(rule.mask, edited=f"forced {quoted(action)}{hint}")
        return self.place

    def mock(self, result: Any) -> Location:
        """Use this result instead of calling ``exec``, and stop after it.

        Between two items of a batch node it is the result of the next item. Before the exec of a batch node, pass a
        list with one result for each item.

        Raises:
            RunStateError: The node is a flow, or its exec is done.
        """
        __tracebackhide__ = True
        session = self._session
        here, plan = self.place, session.position.frames[-1].plan
        is_between_items = here.item is not None
        if "exec" not in here.boundary.next_hooks:
            raise RunStateError(f"mock: {here.path} is {here.phase}. Go back to a place before its exec.")
        results = check_mock(plan.facts.kind, here.path, result, at_item=is_between_items)
        if plan.facts.kind == "batch_node" and not is_between_items:
            if here.boundary.mask == BEFORE_PREP:
                session.move(RULES["through prep"])
                if self.error is not None:
                    return self.place
            items = session.position.frames[-1].prep_res
            if hasattr(type(items), "__len__") and len(items) != len(results):
                raise RunStateError(f"mock: {here.path} has {len(items)} items, but {len(results)} results were given.")
        with session.command():
            session.take_edits()
            session.cache.mock(here.path, results)
            return session.run_until(RULES["into" if is_between_items else "through exec"], here)

    # ---- the rest ----------------------------------------------------------------------------------------------------

    def as_test(self, path: str | Path) -> Path:
        """Write the current visit of a node as a test for pytest, and return its path.

        The test runs the node with the same ``shared``, and with the same results instead of calling ``exec``. It
        compares the input of ``exec``, the action, and ``shared`` after the visit. An existing file is replaced.

        Raises:
            RunStateError: The current place is not after ``post`` (after ``exec``, if the node has no ``post``), the
                node is a flow, or the start of the visit was evicted from the history.
            ExportError: A value is neither JSON nor a Python literal, or the node's class cannot be imported. No file
                is written.
        """
        return write_test(self._session, Path(path))

    def pause(self) -> None:
        """Stop a command that runs in another thread, at the next boundary. Finished results are kept."""
        self._session.stop.request()

    def stop(self) -> Location:
        """End the run here. Its record has the status "stopped", and no further command is possible."""
        session = self._session
        if session.state == "busy":
            raise RunStateError("the stepper is running a command; pause() it first.")
        if session.state != "stopped":
            session.state = "stopped"
            if not self.place.is_end:
                self.record._end("stopped", session.seconds)
        return self.place


class Lines(str):
    """Text that shows itself unquoted on the last line of a cell."""

    __slots__ = ()

    __repr__ = str.__str__


def _entry(session: Session, number: Any) -> HistoryEntry:
    """Return the entry with this number.

    Raises:
        SettingError: There is none.
    """
    entries = session.history.entries
    try:
        index = -1 if isinstance(number, bool) else operator.index(number)  # also a number from a table
    except TypeError:
        index = -1
    if not 0 <= index < len(entries):
        raise SettingError(f"there is no place {quoted(number)}; the places are 0 to {len(entries) - 1}.")
    return entries[index]


def _edit(session: Session, change: Callable[..., None], *args: Any) -> None:
    """Change ``shared``, after taking over what the user changed before."""
    values = session.snapshots.values
    if values is None:
        what = a_type(session.snapshots.shared)
        raise RunStateError(f"shared is {what}, which has no keys to set; change it directly.")
    with session.command():
        session.take_edits()
        change(values, *args)
        session.take_edits()


def _value(version: Version | None) -> Any:
    return None if version is None else version.value()
