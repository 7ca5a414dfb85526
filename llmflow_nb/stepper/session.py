"""The state behind a stepper: the position, the history and the result cache, which move together.

A session moves its position with the same `advance` as every other way to run, and keeps a `HistoryEntry` at each
boundary. Going back replaces the position, ``shared`` and the record by those of an entry.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from time import perf_counter as clock
from typing import Any

from ..core.errors import RunStateError
from ..core.fingerprint import Fingerprints
from ..core.kept_errors import copy_without_callers
from ..core.node import BaseNode
from ..core.settings import check_setting
from ..core.text import error_text, message
from ..core.traversal import survey
from ..engine.checkpoint import batches_of, rebuild_plans
from ..engine.drivers.sync import drive
from ..engine.position import AFTER_POST, BEFORE_PREP, END, Position
from ..engine.setup import Setup
from ..engine.stop import Stop, Stopped
from ..engine.unwind import FINISHED
from ..journal.journal import Journal
from ..journal.keys import CallKeys
from ..runs.recorder import RecordPoint
from ..runs.run import Run
from .boundaries import BOUNDARY_AT
from .breakpoints import Breakpoints
from .commands import Rule
from .edits import Edits
from .history import Activity, History, HistoryEntry, SavedPosition
from .journaled import StepperJournal
from .location import Location, failed_call_of, location_of
from .output import Captured, short_traceback
from .replay import Replay
from .snapshots import Snapshots, changes, names

__all__ = ["Session"]


class Session:
    """The state behind one stepper. The widget reads it, too."""

    def __init__(
        self,
        node: BaseNode,
        shared: Any,
        budget: float,
        start: Callable[[Setup], Position] | None = None,
        journal: Journal | None = None,
    ) -> None:
        """Stop before the first hook. The arguments are those of `Stepper`."""
        __tracebackhide__ = True
        self.record = Run(node, shared)
        recorder = self.record._recorder
        for edge in survey(node).overwritten:
            recorder.add_problem(edge)
        self.snapshots = Snapshots(shared)
        keys = CallKeys(Fingerprints())
        self.cache = Replay(keys)
        self._journal = None if journal is None else StepperJournal(journal, self.record, self.cache)
        self.stop = Stop()  # another thread asks it to end a command
        grace = check_setting(node, "grace", node.grace)
        self.setup = Setup(recorder, concurrent=False, result_cache=self.cache, stop=self.stop, grace=grace)
        self.history = History(self.snapshots, budget)
        self.position = Position.at_start(node, shared, self.setup) if start is None else start(self.setup)
        self.edits = Edits(node, keys)
        self.breakpoints = Breakpoints(node)
        self.notes: list[str] = []  # what the user should know, each text once
        self.news = ""  # what the user should know of the last command
        self.seconds = 0.0  # the time that hooks and calls took
        self.state = "idle"  # "busy" while a command runs, then "idle" or "stopped"
        self.echoes = True  # whether the output of hooks is also printed; the widget shows it instead
        self.view: Any = None  # the widget, which is refreshed after each command
        self._show_position()
        self._go_to_first_hook()
        self.edits.accept_baseline()

    def _go_to_first_hook(self) -> None:
        if self.position.frames[-1].phase not in BOUNDARY_AT:  # else it is in the middle of a visit
            drive(self.position, self.setup, BEFORE_PREP)
            plan = self.position.frames[-1].plan
            if plan.facts.kind == "flow" and "prep" not in plan.facts.hooks.own:
                drive(self.position, self.setup, BEFORE_PREP)
        self.add_entry(BEFORE_PREP)

    def _show_position(self) -> None:
        """Let the record say where the stepper is, and what the visits in progress have used."""
        self.record._recorder.where = self._where
        self.record._recorder.open_usage = lambda: self.position.unrecorded_usage()

    def _where(self) -> str:
        here = self.history.now.location
        return "" if here.is_end else here.path

    @property
    def location(self) -> Location:
        """Where the run is, with the counters and notes of now."""
        here, counts = self.history.now.location, self.cache.counts
        note = "; ".join(dict.fromkeys(filter(None, (here.note, self.news))))
        return replace(here, called=counts["called"], replayed=counts["replayed"], note=note)

    def command(self) -> AbstractContextManager[None]:
        """Return a context in which one command runs. The state after it is the baseline for edits.

        Raises:
            RunStateError: Another command runs, or the stepper was stopped.
        """
        if self.state == "busy":
            raise RunStateError("the stepper is running a command; wait until it ends, or call pause().")
        if self.state == "stopped":
            raise RunStateError("the stepper was stopped; create another one with flow.stepper(shared).")
        return self._run_command()

    @contextmanager
    def _run_command(self) -> Iterator[None]:
        with nullcontext() if self._journal is None else self._journal.opened(), self._busy():
            yield

    @contextmanager
    def _busy(self) -> Iterator[None]:
        self.state = "busy"
        self.stop.requested = False
        self.news = ""
        try:
            yield
        finally:
            self.state = "idle"
            self.cache.end_command()
            self.edits.accept_baseline()
            if self.view is not None:
                self.view.refresh()

    def note(self, text: str) -> None:
        """Keep a text for the user, once."""
        text = message(text)
        if text not in self.notes:
            self.notes.append(text)

    # ---- forwards ----------------------------------------------------------------------------------------------------

    def move(self, rule: Rule, start: Location | None = None) -> Location:
        """Follow the existing entries while nothing has changed, then run hooks. Stop where the rule says.

        Args:
            rule: Where to stop.
            start: What the rule compares with; None: the current location.
        """
        __tracebackhide__ = True
        start = start or self.history.now.location
        with self.command():
            self.take_edits()
            if self.history.now.location.is_end or (not rule.is_literal and self._follow_recorded(rule, start)):
                return self.location
            return self.run_until(rule, start)

    def _mask(self, rule: Rule) -> int:
        return rule.mask | (AFTER_POST if self.breakpoints.need_actions else 0)

    def _follow_recorded(self, rule: Rule, start: Location) -> bool:
        """Move along the entries that follow this one. Returns whether the rule stopped there.

        An entry is passed if it is up to date, and all boundaries before it at which the rule might stop have entries.
        """
        mask = self._mask(rule)
        entry = self.history.now
        while (following := entry.following) and following.can_be_followed(mask, self.edits.edition):
            entry = following
            if self._stops_at(entry, rule, start):
                self.go(entry)
                return True
        if entry is not self.history.now:
            self.go(entry)
        return False

    def run_until(self, rule: Rule, start: Location) -> Location:
        """Run hooks until a rule says stop. Every boundary in its mask gets an entry."""
        __tracebackhide__ = True
        mask = self._mask(rule)
        with Captured(echoes=self.echoes) as captured:
            while True:
                began = clock()
                try:
                    need = drive(self.position, self.setup, mask)
                except Stopped:
                    self.go(self.history.now)
                    return self.location
                except Exception as exc:
                    self._add_failure(exc, captured.take(), clock() - began)
                    if not self.breakpoints.on_exception:
                        raise
                    return self.location
                except BaseException:
                    self.go(self.history.now)
                    raise
                finally:
                    self.seconds += clock() - began
                is_end = need == END
                if not is_end and not rule.is_literal and self._is_default_hook():
                    continue
                entry = self.add_entry(mask, is_end=is_end, output=captured.take(), seconds=clock() - began)
                if self._stops_at(entry, rule, start):
                    return self.location

    def _is_default_hook(self) -> bool:
        """Whether the hook that has just ended is not defined by the class, so that nothing happened."""
        frame = self.position.frames[-1]
        ended, plan = BOUNDARY_AT[frame.phase].ended, frame.plan
        is_walk_before_post = ended == "exec" and plan.facts.is_flow and "post" in plan.facts.hooks.own
        return bool(ended) and ended not in plan.facts.hooks.own and not is_walk_before_post

    def _stops_at(self, entry: HistoryEntry, rule: Rule, start: Location) -> bool:
        here = entry.location
        return here.is_end or rule.stops(start, here) or (not rule.is_literal and self._is_breakpoint(entry))

    def _is_breakpoint(self, entry: HistoryEntry) -> bool:
        for found in self.breakpoints:
            if not found.matches(entry.location, entry.node):
                continue
            if found.where is None:
                return True
            if entry is not self.history.now:  # an entry on the way along those that exist
                self.snapshots.put_back(entry.snapshot)
            try:
                if found.where(self.snapshots.shared):
                    return True
            except Exception as exc:  # from the user's function: better to stop than to run past
                self.news = f"breakpoint {found} raised {error_text(exc)}"
                self.note(self.news)
                return True
            except BaseException:
                self.go(self.history.now)
                raise
        return False

    def add_entry(
        self, mask: int, *, is_end: bool = False, edited: str = "", output: str = "", seconds: float = 0.0
    ) -> HistoryEntry:
        """Add an entry for where the position is now.

        Args:
            mask: The boundaries at which the way here could have stopped.
            is_end: Whether the run has ended.
            edited: What the user changed here; "" if this is not an edit.
            output: What was printed on the way here.
            seconds: What the hooks on the way here took.
        """
        position, history = self.position, self.history
        if is_end:
            position.give_back(self.record.node)
            self.record._end("ok", self.seconds, position.action)
        frame = position.frames[-1]
        is_new_visit = not edited and not is_end and BOUNDARY_AT[frame.phase].mask == BEFORE_PREP
        visit = history.visit_number(frame.plan.path, frame.params, is_new=is_new_visit)
        location = location_of(position, visit=visit, is_end=is_end, note=edited)
        snapshot = self.snapshots.take()
        entry = HistoryEntry(
            number=len(history.entries),
            parent=history.now,
            location=location,
            node=frame.node,
            walk_params=frame.params,
            saved=SavedPosition(position, location, snapshot),
            snapshot=snapshot,
            record=RecordPoint(self.record._recorder),
            edition=self.edits.edition,
            mask=mask,
            edited=edited,
            activity=Activity(output, seconds, self.cache.take_counts(), self.cache.take_keys()),
        )
        history.add(entry)
        for text in self.snapshots.not_restorable.values():
            self.note(text)
        for path, text in self.cache.notes.items():
            self.note(f"{path}: {text}")
        return entry

    def _add_failure(self, error: Exception, output: str, seconds: float) -> None:
        """Go back to where the failed step started, and add an entry there that holds the error."""
        failed_item, failed_input = failed_call_of(self.position, error)
        _name_the_record(error)
        kept = copy_without_callers(error)
        self.record._replace_error(error, kept)
        self.setup.noted.pop(id(error), None)
        start = self.history.now
        self.go(start)
        if self.breakpoints.on_exception and self.echoes:
            print(short_traceback(error), file=sys.stderr)
        self.history.add(
            replace(
                start,
                number=len(self.history.entries),
                parent=start,
                location=replace(start.location, error=kept, failed_item=failed_item, note=""),
                activity=Activity(output, seconds, self.cache.take_counts(), failed_input=failed_input),
                edited="",
                children=[],
                following=None,
            )
        )

    # ---- backwards ---------------------------------------------------------------------------------------------------

    def go(self, entry: HistoryEntry) -> None:
        """Restore the position, ``shared`` and the record of an entry.

        Raises:
            RunStateError: The entry was evicted.
        """
        saved = entry.require_saved()
        checkpoint = saved.checkpoint
        position = checkpoint.restore(self.setup, checkpoint.shared, copies=True)
        assert position is not None  # only a failure may be impossible to resume
        copies = zip(map(id, checkpoint.batches()), batches_of(position.frames), strict=True)
        self.snapshots.put_back(entry.snapshot)
        saved.restore_results(position, entry.snapshot, self.snapshots)
        self.record._recorder.cut_after(entry.record, dict(copies))
        self.record._restart()
        self.position = position
        self.edits.apply(position, since=entry.edition)
        self.history.go(entry)
        self.cache.go_after(key for step in self.history.line() for key in step.activity.cache_keys)
        if entry.location.is_end:
            self.record._end("ok", self.seconds, position.action)
        self._show_position()

    # ---- edits -------------------------------------------------------------------------------------------------------

    def take_edits(self) -> None:
        """Take over what the user changed since the last command: keys of ``shared``, attributes of nodes, code."""
        now = self.history.now
        keys = changes(now.snapshot, self.snapshots.take())
        if keys:
            self.add_entry(BEFORE_PREP, is_end=now.location.is_end, edited=f"edited {names(keys)}")
        edition = self.edits.edition
        found = self.edits.find()
        if any(found):
            rebuild_plans(self.position.frames, self.setup)
        if found.attributes:
            self.edits.apply(self.position, since=edition)
            self.note(f"changed: {', '.join(found.attributes)}")
        if found.code:
            self.news = f"code changed: {', '.join(found.code)}"
            self.note(self.news)


def _name_the_record(error: BaseException) -> None:
    """Let the engine's note on an error name the stepper's record instead of ``last_run``."""
    notes = getattr(error, "__notes__", None)
    if isinstance(notes, list):
        notes[:] = [str(note).replace(FINISHED, "completed results are in stepper.record") for note in notes]
