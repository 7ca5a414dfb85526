"""`Stepper`: a driver over the engine that stops where it is told to, and can be taken back.

It holds a position, and moves it with the same `advance` as every other way of running; between two moves it keeps a
`Moment`. Going back puts a moment's position, ``shared`` and record in the place of the present ones.
"""

import operator
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter as clock
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from ..core.doors import ShownWithWidget
from ..core.edited import rebind
from ..core.errors import HookReturnError, RunStateError, SettingError, a_type, did_you_mean
from ..core.fingerprint import Fingerprints
from ..core.kept_errors import copy_without_callers
from ..core.node import BaseNode, check_setting, label
from ..core.settings import is_whole
from ..core.text import error_text, message, quoted
from ..core.traversal import survey, within
from ..engine.advance import AFTER_EXEC, AFTER_ITEM, AFTER_POST, AFTER_PREP, ALL, BEFORE_PREP, END
from ..engine.checkpoint import Checkpoint, batches_of, rebuild_plans
from ..engine.drivers.sync import drive
from ..engine.plan import Setup
from ..engine.position import EXEC, LEAVE, POST, WORKING, Position
from ..engine.stop import Stop, Stopped
from ..engine.unwind import FINISHED
from ..runs.rewind import RunMark
from ..runs.run import Run
from .as_test import Visited, write_test
from .breakpoints import Breakpoints
from .history import Counts, History, Moment
from .output import Captured, short_traceback
from .place import Place, item_that_failed, place_of
from .replay import Replay, check_mock
from .settings import Settings
from .snapshots import Snapshots, changes, names

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Pending", "Stepper"]

EVERYWHERE = ALL | AFTER_ITEM
MEGABYTE = 1_000_000


class Pending(NamedTuple):
    """What the next step of a stepper goes on from.

    Attributes:
        node: The node that is visited, as the user wrote it.
        phase: "before prep", "after prep", "after exec", "after post" or "at the end".
        prep_res: What ``prep`` returned; None before it has.
        exec_res: What ``exec`` returned, of a batch the results so far; None before it has.
        action: The action that ``post`` chose; None before it has.
    """

    node: BaseNode
    phase: str
    prep_res: Any
    exec_res: Any
    action: Any


class Stepper(ShownWithWidget):
    """Walks a flow one hook at a time, forwards and backwards, and does not call a model twice for the same.

    Every command returns the `Place` that it came to. ``prep`` and ``post`` run as they do in a run; the result of an
    ``exec`` is used again as long as its input, its params and the node's code are what they were. A node with
    ``volatile = True`` is called each time. Going back puts ``shared`` back as it was, but not what a node did outside
    of it. Going forward where nothing was changed only goes along what was recorded; `rerun` runs it again.

    Attributes:
        shared: The very object that was given.
        root: The flow whose graph is shown; title: what is stepped, if the place does not say it.
        record: The `Run` of this stepper so far. It never replaces ``node.last_run``.
        breakpoints: Where `run` stops; they stay until they are removed.
        notes: What else there is to say, each once.
        echoes: Whether what the hooks print is printed too; a widget shows it instead.
        listeners: Called after every command, for who shows the stepper; view: what shows it.
    """

    _shown_as: ClassVar[str] = "stepper"

    def __init__(
        self,
        node: BaseNode,
        shared: Any,
        *,
        budget: int = 256 * MEGABYTE,
        start: Callable[[Setup], Position] | None = None,
        root: BaseNode | None = None,
        title: str = "",
    ) -> None:
        """Stop before the first hook.

        Args:
            node: A flow, or a node.
            shared: What the hooks read and write, usually a dict.
            budget: About how many bytes may be kept to go back to. Beyond, the oldest places are let go of.
            start: Makes the position to begin at, for who opens a stepper in the middle of a flow.

        Raises:
            WiringError: The flow has no start, or contains itself.
        """
        __tracebackhide__ = True
        wiring = survey(node)
        if isinstance(budget, bool) or not isinstance(budget, int | float) or not budget >= 0:
            raise SettingError(f"stepper(budget={quoted(budget)}): budget must be a number of bytes, 0 or more.")
        self.shared = shared
        self.root = node if root is None else root
        self.title = title
        self.record = Run(node, shared)
        self.breakpoints = Breakpoints(node)
        self.notes: list[str] = []
        self.echoes = True
        self.listeners: list[Callable[[], None]] = []
        self.view: Any = None
        for edge in wiring.overwritten:
            self.record.problem(edge)
        self._node = node
        self._snapshots = Snapshots(shared)
        self._fingerprints = Fingerprints()
        self._replay = Replay(self._snapshots, self._fingerprints)
        self._stop = Stop()
        grace = check_setting(node, "grace", node.grace)
        self._setup = Setup(self.record, concurrent=False, answers=self._replay, stop=self._stop, grace=grace)
        self._history = History(self._snapshots, budget)
        self._position = (start or (lambda setup: Position.at_start(node, shared, setup)))(self._setup)
        self._seconds = 0.0
        self._is_busy = self._is_stopped = False
        self._news = ""
        self._passes: Counter[Any] = Counter()
        self._counts = Counts()
        self._code, self._prints = 0, self._code_now()
        self._settings = Settings()
        self.record.where = self._where
        self._begin()
        self._settle()

    def _begin(self) -> None:
        """Come to the first place at which a hook of the user's is about to run."""
        if self._position.frames[-1].phase in (EXEC, POST, WORKING):  # in the middle of a visit
            self._note(BEFORE_PREP)
            return
        drive(self._position, self._setup, BEFORE_PREP)
        plan = self._position.frames[-1].plan
        if plan.kind == "flow" and "prep" not in plan.hooks.own:
            drive(self._position, self._setup, BEFORE_PREP)
        self._note(BEFORE_PREP)

    def _where(self) -> str:
        return "" if self.place.is_end else self.place.path

    # ---- what there is to see ----------------------------------------------------------------------------------------

    @property
    def place(self) -> Place:
        """Where the stepper is."""
        place = self._history.now.place
        note = "; ".join(dict.fromkeys(filter(None, (place.note, self._news))))
        return replace(place, called=self.called, replayed=self.replayed, note=note)

    position = place

    @property
    def pending(self) -> Pending:
        """What the next step goes on from."""
        frame, place = self._position.frames[-1], self._history.now.place
        has_prepped = place.phase not in ("before prep", "at the end")
        has_executed = place.phase in ("after exec", "after post")
        exec_res = frame.exec_res if has_executed and frame.phase in (POST, LEAVE) else None
        if place.item is not None and frame.work is not None:
            exec_res = frame.work.results[:]
        return Pending(
            node=frame.node,
            phase=place.phase,
            prep_res=frame.prep_res if has_prepped else None,
            exec_res=exec_res,
            action=place.action,
        )

    @property
    def error(self) -> BaseException | None:
        """What the last step failed with; None if it did not."""
        return self._history.now.place.error

    @property
    def called(self) -> int:
        """Calls of ``exec`` that were made since the stepper began, on all branches."""
        return self._replay.called

    @property
    def replayed(self) -> int:
        """Calls of ``exec`` that were answered by the result of an earlier one."""
        return self._replay.replayed

    @property
    def history(self) -> "pd.DataFrame":
        """Return a plain `pandas.DataFrame` with a row for each visit on the way here, in the order of their starts.

        Columns: ``place`` (Int64, what `goto` takes), ``path``, ``node`` (string), ``visit`` (Int64), ``action``,
        ``status`` (string), ``seconds`` (Float64), ``calls`` (string: called, replayed, mocked, edited), ``changed``
        (string: the keys of ``shared``, or "no change"), ``output``, ``error`` (string).
        """
        from ..runs.tables import history_table

        return history_table(self._history.rows())

    @property
    def tree(self) -> str:
        """All places of all branches, a line each, with the number that `goto` takes; an arrow shows this one."""
        return Lines(self._history.tree())

    @property
    def now(self) -> Moment:
        """The moment of this place, for who shows the stepper."""
        return self._history.now

    def line(self) -> list[Moment]:
        """Return the moments on the way here, for who shows the stepper."""
        return self._history.line()

    def walk(self) -> Iterator[tuple[Moment, int]]:
        """Go through all moments of all branches, each with how many branches it is away from the first."""
        return self._history.walk()

    def diff(self, first: int, second: int | None = None) -> dict[Any, tuple[Any, Any]]:
        """Return what differs in ``shared`` between two places: by key, what it held at the first and at the second.

        Args:
            first: The number of a place.
            second: The other. None: this place.

        Raises:
            ValueError: There is no such place.
        """
        here = self._history.now.number if second is None else second
        before, after = (self._moment(number).snapshot for number in (first, here))
        return {change.key: (_kept(change.before), _kept(change.after)) for change in changes(before, after)}

    def __repr__(self) -> str:
        """Say where it is, in a line."""
        return f"<Stepper {self.place}>"

    # ---- going on ----------------------------------------------------------------------------------------------------

    def into(self) -> Place:
        """Go on to the next boundary: after one hook or one item, or into a flow."""
        __tracebackhide__ = True
        return self._command(lambda moment: True, EVERYWHERE)

    def over(self) -> Place:
        """Go on until this node is done, with all that is within it, and stop before the next one."""
        __tracebackhide__ = True
        depth = self._history.now.place.depth
        return self._command(lambda moment: moment.place.phase == "before prep" and moment.place.depth <= depth)

    def out(self) -> Place:
        """Go on until this walk through its flow has ended: before the next param set, or after the flow's exec."""
        __tracebackhide__ = True
        here = self._history.now.place

        def is_out(moment: Moment) -> bool:
            place = moment.place
            return place.depth < here.depth or (place.depth == here.depth and place.param_set != here.param_set)

        return self._command(is_out, BEFORE_PREP | AFTER_EXEC)

    def to_item(self, item: int) -> Place:
        """Go on within a batch node until so many of its items are done.

        Raises:
            ValueError: So many are done already.
            RunStateError: This place is not in a batch node, before its exec is done.
        """
        __tracebackhide__ = True
        here, plan = self._history.now.place, self._position.frames[-1].plan
        if plan.kind != "batch_node" or (here.item is None and here.phase not in ("before prep", "after prep")):
            raise RunStateError(f"to_item: {here.path}, {here.phase}, has no items to go on to.")
        done = here.item or 0
        if not is_whole(item) or item <= done:
            raise SettingError(
                f"to_item({quoted(item)}): say how many are to be done, more than {done}; back() goes back."
            )

        def is_there(moment: Moment) -> bool:
            place = moment.place
            is_past = place.depth < here.depth or (place.phase == "after exec" and place.item is None)
            return is_past or (place.item is not None and place.item >= item)

        return self._command(is_there, EVERYWHERE)

    def run(self) -> Place:
        """Go on to the next breakpoint, or to the end."""
        __tracebackhide__ = True
        return self._command(lambda moment: False)

    def rerun(self, *, call_again: bool = False) -> Place:
        """Run the node that this place is at again, from its prep on, up to this place; before its prep, all of it.

        Opens a branch. After a failure this is the way on, once what was wrong is mended.

        Args:
            call_again: Call ``exec`` even where its result is there already.
        """
        __tracebackhide__ = True
        now = self._history.now
        start = self._start_of_visit()
        phase, depth, item = now.place.phase, now.place.depth, now.place.item
        with self._busy():
            self._take_changes()
            if call_again:
                self._replay.again = now.place.path
            if start is not self._history.now or start.place.error is not None:
                self._go(start)
            is_fine = phase not in ("before prep", "at the end")

            def stops(moment: Moment) -> bool:
                there = moment.place
                if is_fine:
                    return (there.phase, there.depth, there.item) == (phase, depth, item)
                return there.phase == "before prep" and there.depth <= depth

            return self._drive(stops, EVERYWHERE if is_fine else BEFORE_PREP)

    def _start_of_visit(self) -> Moment:
        """The moment before the prep of the visit that this place is in; the first moment where there is none."""
        start, here = self._history.now, self._history.now.place
        while start.parent is not None and not (
            start.place.phase == "before prep" and (start.place.path, start.place.visit) == (here.path, here.visit)
        ):
            start = start.parent
        return start

    # ---- going back --------------------------------------------------------------------------------------------------

    def back(self, places: int = 1) -> Place:
        """Go back by so many places, to the first one at most.

        Raises:
            ValueError: ``places`` is below 1.
        """
        if not is_whole(places) or places < 1:
            raise SettingError(f"back({quoted(places)}): say by how many places, 1 or more.")
        moment = self._history.now
        for _ in range(places):
            moment = moment.parent or moment
        return self.goto(moment.number)

    def goto(self, number: int) -> Place:
        """Go to any place of `history` or `tree`, by its number; nothing is run.

        Raises:
            ValueError: There is no such place.
            RunStateError: It was let go of, for want of room.
        """
        __tracebackhide__ = True
        with self._busy():
            self._take_changes()
            self._go(self._moment(number))
        return self.place

    # ---- changing what comes -----------------------------------------------------------------------------------------

    def set(self, key: Any, value: Any) -> Place:
        """Set a key of ``shared``, which opens a branch."""
        return self._edit(lambda values: values.__setitem__(key, value))

    def delete(self, key: Any) -> Place:
        """Take a key out of ``shared``, which opens a branch.

        Raises:
            ValueError: There is no such key.
        """
        if key not in (self._snapshots.values or {}):
            raise SettingError(
                f"delete({quoted(key)}): shared has no such key; it has "
                f"{quoted(list(self._snapshots.values or {}), 400, elements=20)}."
            )
        return self._edit(lambda values: values.__delitem__(key))

    def force(self, action: str | None) -> Place:
        """Have this node choose another action, and stop after its post.

        Raises:
            TypeError: The action is no string.
        """
        __tracebackhide__ = True
        if action is not None and not isinstance(action, str):
            raise HookReturnError(f"force({quoted(action)}): an action is a string or None, not {a_type(action)}.")
        here = self._history.now.place
        if here.is_end:
            raise RunStateError("force: the run has ended; go back to the node that is to choose another action.")

        def is_post(moment: Moment) -> bool:
            place = moment.place
            return place.phase == "after post" and (place.path, place.depth) == (here.path, here.depth)

        if here.phase != "after post":
            self._command(is_post, BEFORE_PREP | AFTER_POST, at_idle=True, breaks=False)
            if self.error is not None or self._history.now.place.phase != "after post":
                return self.place
        with self._busy():
            frame = self._position.frames[-1]
            frame.action = action
            edges = frame.node.successors
            lost = "" if not edges or (action or "default") in edges else ", for which there is no edge"
            hint = did_you_mean(action, edges) if lost else ""
            self._note(BEFORE_PREP | AFTER_POST, edited=f"forced {quoted(action)}{lost}{hint}")
        return self.place

    def mock(self, result: Any) -> Place:
        """Use this result in place of calling ``exec``, and stop after it.

        Between two items of a batch node it is the result of the next item; before its exec, a list with one result for
        each item.

        Raises:
            RunStateError: The node is a flow, or its exec is done.
        """
        __tracebackhide__ = True
        here, plan = self._history.now.place, self._position.frames[-1].plan
        between = here.item is not None
        if not between and here.phase not in ("before prep", "after prep"):
            raise RunStateError(f"mock: {here.path} is {here.phase}; go back to before its exec.")
        results = check_mock(plan.kind, here.path, result, at_item=between)
        if plan.kind == "batch_node" and not between:
            if here.phase == "before prep":
                self._command(
                    lambda m: m.place.phase == "after prep" and m.place.depth == here.depth,
                    BEFORE_PREP | AFTER_PREP,
                    at_idle=True,
                    breaks=False,
                )
                if self.error is not None:
                    return self.place
            items = self._position.frames[-1].prep_res
            if hasattr(type(items), "__len__") and len(items) != len(results):
                raise RunStateError(f"mock: {here.path} has {len(items)} items, and there are {len(results)} results.")
        with self._busy():
            self._take_changes()
            self._replay.mock(here.path, results)
            if between:
                return self._drive(lambda moment: True, EVERYWHERE)
            return self._drive(
                lambda m: m.place.phase == "after exec" and m.place.depth == here.depth and m.place.item is None,
                BEFORE_PREP | AFTER_EXEC,
                at_idle=True,
                breaks=False,
            )

    def as_test(self, path: str | Path) -> Path:
        """Write the visit that this place is at as a small test for pytest, and return its path.

        The test runs the node with what ``shared`` held before it, with the results that its ``exec`` had, and compares
        what ``exec`` was given, the action, and what ``shared`` held then. A file that is there is replaced.

        Raises:
            RunStateError: This place is not after the node's post (after its exec, where it has none), or it is a flow.
            ExportError: A value is neither JSON nor a literal of Python, or the node's class cannot be imported.
                Nothing is written.
        """
        place, frame = self._history.now.place, self._position.frames[-1]
        is_done = place.phase == "after post" or (place.phase == "after exec" and "post" not in frame.plan.hooks.own)
        if not is_done or place.item is not None or frame.plan.is_flow:
            raise RunStateError(
                f"as_test: step into a node as far as after its post; this is {place.path}, {place.phase}."
            )
        is_batch = frame.plan.kind == "batch_node"
        visited = Visited(
            node=frame.node,
            path=place.path,
            visit=place.visit,
            params=frame.params,
            before={key: version.value() for key, version in self._start_of_visit().snapshot.items()},
            after=dict(self._snapshots.values or {}),
            items=list(frame.prep_res) if is_batch else [frame.prep_res],
            results=list(frame.exec_res) if is_batch else [frame.exec_res],
            action=place.action,
        )
        return write_test(visited, Path(path))

    def pause(self) -> None:
        """Have a command that another thread waits for end at the next boundary. What was paid for stays."""
        self._stop.request()

    def stop(self) -> Place:
        """End it here. The record says that it was stopped; nothing more is run."""
        if self._is_busy:
            raise RunStateError("the stepper is in the middle of a step; pause() it first.")
        if not self._is_stopped:
            self._is_stopped = True
            if not self._history.now.place.is_end:
                self.record.ended("stopped", self._seconds)
        return self.place

    # ---- how it is done ----------------------------------------------------------------------------------------------

    def _busy(self) -> "_Busy":
        return _Busy(self)

    def _command(
        self, stops: Callable[[Moment], bool], mask: int = BEFORE_PREP, *, at_idle: bool = False, breaks: bool = True
    ) -> Place:
        """Go on until a moment at which to stop: along what is recorded as far as nothing has changed, then anew."""
        __tracebackhide__ = True
        with self._busy():
            self._take_changes()
            mask |= AFTER_POST if self.breakpoints.need_actions else 0
            if self._history.now.place.is_end or (not at_idle and self._along_recorded(stops, mask)):
                return self.place
            return self._drive(stops, mask, at_idle=at_idle, breaks=breaks)

    def _along_recorded(self, stops: Callable[[Moment], bool], mask: int) -> bool:
        """Go along what was done from here before. True: to where this command stops.

        As long as every boundary was noted at which it might stop.
        """
        moment = self._history.now
        while True:
            following = moment.following
            known = (
                following is not None
                and following.checkpoint is not None
                and following.code == self._code
                and not following.edited
                and following.place.error is None
                and not mask & ~following.mask
            )
            if not known or following is None:
                break
            moment = following
            if stops(moment) or moment.place.is_end or self._breaks(moment):
                self._go(moment)
                return True
        if moment is not self._history.now:
            self._go(moment)
        return False

    def _drive(
        self, stops: Callable[[Moment], bool], mask: int, *, at_idle: bool = False, breaks: bool = True
    ) -> Place:
        """Run the hooks until a moment at which to stop; every boundary in the mask becomes a moment.

        But for those after a hook that the user has not written, where nothing happened, unless ``at_idle``.
        """
        __tracebackhide__ = True
        mask |= AFTER_POST if self.breakpoints.need_actions else 0
        with Captured(echoes=self.echoes) as captured:
            while True:
                began = clock()
                try:
                    need = drive(self._position, self._setup, mask)
                except Stopped:
                    self._undo()
                    return self.place
                except Exception as exc:
                    self._failed(exc, captured.take())
                    if not self.breakpoints.on_exception:
                        raise
                    return self.place
                except BaseException:
                    self._undo()
                    raise
                finally:
                    self._seconds += clock() - began
                is_end = need == END
                if not is_end and not at_idle and self._is_idle():
                    continue
                self._note(mask, is_end=is_end, output=captured.take())
                moment = self._history.now
                if is_end or stops(moment) or (breaks and self._breaks(moment)):
                    return self.place

    def _is_idle(self) -> bool:
        """Whether this boundary comes after a hook that the user has not written: nothing happened there."""
        frame = self._position.frames[-1]
        own = frame.plan.hooks.own
        if frame.phase == EXEC:
            return "prep" not in own
        if frame.phase == POST:
            return "exec" not in own and not (frame.plan.is_flow and "post" in own)
        return frame.phase == LEAVE and "post" not in own

    def _breaks(self, moment: Moment) -> bool:
        for found in self.breakpoints:
            try:
                if found.stops_at(moment.place, moment.node, self.shared):
                    return True
            except Exception as exc:  # of the user's function: better to stop than to run past
                self._news = f"breakpoint {found} raised {error_text(exc)}"
                self._say(self._news)
                return True
        return False

    def _note(self, mask: int, *, is_end: bool = False, edited: str = "", output: str = "") -> None:
        """Add a moment of where the position is now."""
        position = self._position
        if is_end:
            position.give_back(self._node)
            self.record.ended("ok", self._seconds, position.action)
        place = place_of(position, is_end=is_end)
        frame = position.frames[-1]
        walk = place.path, id(frame.params)
        if place.phase == "before prep" and not edited:  # as `Moment.begins_visit` says
            self._passes[walk] += 1
        place = replace(place, visit=max(1, self._passes[walk]), note=edited or place.note)
        moment = Moment(
            number=len(self._history.moments),
            parent=self._history.now,
            place=place,
            node=frame.node,
            checkpoint=Checkpoint(position),
            snapshot=self._snapshots.take(),
            record=RunMark(self.record),
            counts=self._counted(),
            code=self._code,
            mask=mask,
            edited=edited,
            output=output,
        )
        moment.used = self._replay.take_used()
        if place.phase != "before prep":
            moment.hold(position)
        self._history.add(moment)
        for text in self._snapshots.not_restorable.values():
            self._say(text)
        for path, text in self._replay.notes.items():
            self._say(f"{path}: {text}")

    def _say(self, text: str) -> None:
        text = message(text)
        if text not in self.notes:
            self.notes.append(text)

    def _counted(self) -> Counts:
        """Return the calls since this was last asked."""
        before, self._counts = self._counts, Counts(self._replay.called, self._replay.replayed, self._replay.mocked)
        return self._counts.since(before)

    def _failed(self, error: Exception, output: str) -> None:
        """Be where the failing step began, with ``shared`` as it was then, and say what it failed with."""
        last = self._history.now
        failed_item = item_that_failed(self._position, error)
        _name_the_record(error)
        kept = copy_without_callers(error)
        self.record.replace_error(error, kept)
        self._setup.noted.pop(id(error), None)
        self._undo()
        place = replace(last.place, error=kept, failed_item=failed_item, note="")
        moment = replace_moment(last, len(self._history.moments), place, output)
        moment.counts = self._counted()
        self._history.add(moment)
        moment.output += self._tell(short_traceback(error)) if self.breakpoints.on_exception else ""

    def _tell(self, text: str) -> str:
        if self.echoes:
            print(text, file=sys.stderr)
        return f"{text}\n"

    def _undo(self) -> None:
        """Put back the place that the step began at."""
        self._go(self._history.now)

    def _go(self, moment: Moment) -> None:
        """Put a moment in the place of the present one."""
        checkpoint = moment.checkpoint
        if checkpoint is None:
            raise RunStateError(
                f"place {moment.number} was let go of, as what is kept to go back to took more than the budget; give "
                "stepper(budget=) more bytes, or go to a later place."
            )
        position = checkpoint.restore(self._setup, checkpoint.shared, copies=True)
        assert position is not None  # only a failure may be impossible to resume
        copies = zip(map(id, checkpoint.batches()), batches_of(position.frames), strict=True)
        self._snapshots.put_back(moment.snapshot)
        moment.put_values(position, self._snapshots)
        moment.record.put_back(self.record, dict(copies))
        self._position = position
        self._settings.apply(position, since=moment.code)
        self._history.go(moment)
        self._replay.be_after(key for step in self._history.line() for key in step.used)
        self._passes = Counter(
            (step.place.path, id(step.checkpoint.frames[-1].params))
            for step in self._history.line()
            if step.begins_visit and step.checkpoint is not None
        )
        if moment.place.is_end:
            self.record.ended("ok", self._seconds, position.action)
        self.record.where = self._where

    def _edit(self, change: Callable[[Any], None]) -> Place:
        values = self._snapshots.values
        if values is None:
            raise RunStateError(f"shared is {a_type(self.shared)}, of which no key can be set; change it yourself.")
        with self._busy():
            self._take_changes()
            change(values)
            self._take_changes()
        return self.place

    def _take_changes(self) -> None:
        """Take note of what was changed since the last command: keys of ``shared``, and code."""
        now = self._history.now
        edited = changes(now.snapshot, self._snapshots.take())
        if edited:
            self._note(BEFORE_PREP, is_end=now.place.is_end, edited=f"edited {names(edited)}")
        self._fingerprints.forget()
        is_rebound = bool(rebind(within(self._node)))
        prints = self._code_now()
        changed = [name for key, (name, found) in prints.items() if self._prints.get(key, (name, found))[1] != found]
        self._prints = prints
        settings = self._settings.changed(within(self._node), self._code + 1)
        if is_rebound or changed or settings:
            rebuild_plans(self._position.frames, self._setup)
        if settings:
            self._code += 1
            self._settings.apply(self._position, since=self._code - 1)
            self._say(f"changed: {', '.join(settings)}")
        if changed:
            self._code += 1
            note = f"code changed: {', '.join(dict.fromkeys(changed))}"
            self._say(note)
            self._news = note

    def _settle(self) -> None:
        """Take nodes, and the data that their code reads, as they are now: it was the code that has changed them."""
        steps = within(self._node)
        self._settings.settle(steps)
        self._fingerprints.settle(steps)
        self._prints = self._code_now()

    def _code_now(self) -> dict[int, tuple[str, bytes]]:
        return {id(node): (label(node), self._fingerprints.of(node)) for node in within(self._node)}

    def _moment(self, number: int) -> Moment:
        try:  # also a number out of a table
            place = -1 if isinstance(number, bool) else operator.index(number)
        except TypeError:
            place = -1
        if not 0 <= place < len(self._history.moments):
            raise SettingError(
                f"there is no place {quoted(number)}; the places are 0 to {len(self._history.moments) - 1}."
            )
        return self._history.moments[place]


class Lines(str):
    """Text that shows itself as it is on the last line of a cell."""

    __slots__ = ()

    __repr__ = str.__str__


class _Busy:
    """One command at a time."""

    def __init__(self, stepper: Stepper) -> None:
        self._stepper = stepper

    def __enter__(self) -> None:
        if self._stepper._is_busy:
            raise RunStateError("the stepper is in the middle of a step; wait for it, or stop it.")
        if self._stepper._is_stopped:
            raise RunStateError("the stepper was stopped; make another one with flow.stepper(shared).")
        self._stepper._is_busy = True
        self._stepper._stop.requested = False
        self._stepper._news = ""

    def __exit__(self, *_: object) -> None:
        self._stepper._is_busy = False
        self._stepper._replay.end_command()
        self._stepper._settle()
        for listener in self._stepper.listeners:
            listener()


def _name_the_record(error: BaseException) -> None:
    """Have the engine's note on an error name the stepper's record instead of ``last_run``."""
    notes = getattr(error, "__notes__", None)
    if isinstance(notes, list):
        notes[:] = [str(note).replace(FINISHED, "completed results are in stepper.record") for note in notes]


def replace_moment(moment: Moment, number: int, place: Place, output: str) -> Moment:
    """Return another moment that stands where one does, and comes after it."""
    return replace(
        moment, number=number, parent=moment, place=place, output=output, children=[], following=None, edited=""
    )


def _kept(version: Any) -> Any:
    return None if version is None else version.value()
