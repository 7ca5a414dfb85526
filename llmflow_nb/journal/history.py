"""Write the visits, batches and param sets of a run, so that another process can show it.

They are read from the record of the run whenever the journal writes a call, so the engine does nothing for it.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

from ..core.node import BaseNode, kind_of
from ..core.text import class_name, text_of
from ..engine.batch import PENDING, Batch, Outcome
from ..engine.events import VISIT_FIELDS, ReplayedAttempts
from .file import JournalFile
from .schema import DISCARDED, OF_RUN
from .spent import spent_text
from .wiring import wiring_text

__all__ = ["RunHistory", "column", "error_columns"]

_WIDTH = len(VISIT_FIELDS)
_VISIT = f"INSERT OR REPLACE INTO visit VALUES ({', '.join('?' * 19)})"


class RunHistory:
    """What the file has of one run. It belongs to the record, which may be resumed, and whose rows may be retried.

    Attributes:
        run: The number of the run in the file; 0 before `begin`.
    """

    def __init__(self, node: BaseNode, flow: str, recorder: Any) -> None:
        """Write nothing yet.

        Args:
            node: What is run.
            flow: Its name.
            recorder: The columns of the record.
        """
        self.run = 0
        self._node, self._flow, self._recorder = node, flow, recorder
        self._started = 0.0
        self._file: JournalFile
        self._forget()

    def _forget(self) -> None:
        self._visits = 0  # how many are written
        self._uses = 0
        self._seen = 0  # how many batches of the record were looked at
        self._is_continued = False  # whether the run is resumed, or rows of it are retried
        self._sets: list[_ParamSets] = []
        self._walks: dict[int, tuple[Any, int, str | None]] = {}  # params, number and text, by the id of the params

    def begin(self, file: JournalFile) -> None:
        """Add the run to a file, or continue it there.

        Raises:
            JournalError: It cannot be written.
        """
        self._file = file
        file.mark_killed()
        known = file.read("SELECT 1 FROM run WHERE id = ? AND started = ?", self.run, self._started)
        if known is not None:
            file.write("UPDATE run SET status = 'running', ended = NULL WHERE id = ?", self.run)
            self._is_continued = True
            for sets in self._sets:
                sets.write_again()
            return
        self._forget()
        self._started = time.time()
        self.run = file.write(
            "INSERT INTO run(flow, started, status, host, pid, python, wiring, first_call, called, replayed) "
            "VALUES (?, ?, 'running', ?, ?, ?, ?, (SELECT coalesce(max(id), 0) + 1 FROM call), 0, 0)",
            column(self._flow), self._started, socket.gethostname(), os.getpid(),
            ".".join(map(str, sys.version_info[:3])), file.add_text(wiring_text(self._node)),
        )  # fmt: skip

    def write(self) -> None:
        """Write the visits and param sets that have ended since the last time.

        Raises:
            JournalError: They cannot be written.
        """
        recorder = self._recorder
        if self._visits < recorder.visit_count:
            self._write_visits()
        for stored in recorder.discarded:
            self._file.write_later("UPDATE batch SET kind = ? WHERE run = ? AND id = ?", DISCARDED, *stored)
        recorder.discarded = ()
        new, seen = recorder.batches_since(self._seen)
        for batch in new:
            number = self.number_of(batch)
            if number is not None and batch.outcomes.actions is not None:
                self._sets.append(_ParamSets(batch, number))
        self._seen = seen
        for sets in self._sets:
            sets.write(self._file)

    def rewrite(self) -> None:
        """Write everything again from scratch, and remove visits and batches of other branches of a stepper.

        Raises:
            JournalError: It cannot be written.
        """
        self._file.write("DELETE FROM visit WHERE run = ?", self.run)
        self._file.write("DELETE FROM batch WHERE run = ?", self.run)
        for batch in self._recorder.batches:
            if batch.stored is not None and batch.stored[0] == self.run:  # calls refer to it by its number
                self._add_batch(batch, batch.stored[1])
        self._visits, self._seen, self._sets, self._is_continued = 0, 0, [], False
        self.write()

    def _write_visits(self) -> None:
        recorder = self._recorder
        first = recorder.dropped.visits
        start = max(0, self._visits - first)
        columns = recorder.columns[start * _WIDTH :]
        count = len(columns) // _WIDTH
        for n in range(count):
            self._file.write_later(_VISIT, *self._visit(first + start + n, columns[n * _WIDTH : (n + 1) * _WIDTH]))
        self._visits = first + start + count

    def _visit(self, step: int, fields: list[Any]) -> tuple[Any, ...]:
        plan, params, action, attempts, status, started, prepared, executed, ended = fields
        used, parent_set = self._recorder.usage.get(step, ((), None))
        return (
            self.run, step, column(plan.path), kind_of(plan.node), self.walk(params), self.params(params),
            _action(action), status, isinstance(attempts, ReplayedAttempts), attempts,
            prepared - started, executed - prepared, ended - executed,
            *error_columns(self._recorder.failures.get(step)), 0,
            spent_text(used), *self._place(parent_set),
        )  # fmt: skip

    def add_use(self, batch: Batch, position: int | None, call: int) -> None:
        """Write that the run has the result of an earlier call. A kill may lose the latest of these rows.

        Args:
            batch: The visit that has it.
            position: The index of the item; None for a plain node.
            call: The number of the call.

        Raises:
            JournalError: It cannot be written.
        """
        self._file.write_later(
            "INSERT OR REPLACE INTO use VALUES (?, ?, ?, ?, ?)",
            self.run, self._uses, self.number_of(batch), position, call,
        )  # fmt: skip
        self._uses += 1

    def end(
        self, status: str, action: Any, error: BaseException | None, counts: dict[str, int], notes: list[str]
    ) -> None:
        """Write how the run has ended.

        Args:
            status: As that of the record.
            action: What the run returned.
            error: What ended it.
            counts: The number of calls, "called" and "replayed".
            notes: What could not be kept.

        Raises:
            JournalError: It cannot be written.
        """
        for sets in self._sets if self._is_continued else ():  # those that a retry has called
            sets.write_again()
        self.write()
        recorder = self._recorder
        problems = json.dumps({**recorder.problems, **dict.fromkeys(notes, 1)})
        for step, failure in recorder.failures.items():
            if recorder.has_resolved(failure):
                self._file.write("UPDATE visit SET is_resolved = 1 WHERE run = ? AND step = ?", self.run, step)
        self._file.write(f"UPDATE call SET status = 'cancelled' WHERE {OF_RUN} AND status = 'started'", self.run)
        self._file.write(
            "UPDATE run SET ended = ?, status = ?, action = ?, called = called + ?, replayed = replayed + ?, "
            "abandoned = ?, problems = ?, notes = ?, error_type = ?, error = ? WHERE id = ?",
            time.time(), status, _action(action), counts["called"], counts["replayed"], recorder.abandoned,
            self._file.add_text(problems), self._file.add_text(json.dumps(recorder.notes)), *error_columns(error),
            self.run,
        )  # fmt: skip

    # ---- parts of rows -----------------------------------------------------------------------------------------------

    def number_of(self, batch: Batch) -> int | None:
        """Return the number of a batch in the file, which is added if it is new; None for the call of a plain node."""
        if batch.is_single:
            return None
        if batch.stored is None or batch.stored[0] != self.run:
            batch.stored = self.run, self._add_batch(batch, None)
        return batch.stored[1]

    def _add_batch(self, batch: Batch, number: int | None) -> int:
        plan, index = batch.plan, batch.items.index
        labels = None if index is None else self._file.add_value((index.tolist(), list(index.names)))
        return self._file.write(
            "INSERT INTO batch(id, run, path, node, kind, walk, params, size, labels, parent, parent_position) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            number, self.run, column(batch.path), column(plan.path), kind_of(plan.node), self.walk(batch.params),
            self.params(batch.params), batch.items.total, labels, *self._place(batch.parent_set),
        )  # fmt: skip

    def _place(self, parent_set: tuple[Batch, int] | None) -> tuple[int | None, int | None]:
        """Return the number of the batch of a param set, and the position there."""
        return (None, None) if parent_set is None else (self.number_of(parent_set[0]), parent_set[1])

    def walk(self, params: Any) -> int:
        """Return the number of a walk, which is known by the object that holds its params."""
        return self._of_walk(params)[1]

    def params(self, params: Any) -> str | None:
        """Return what a column holds for params; None without any, or if they cannot be written."""
        return self._of_walk(params)[2]

    def _of_walk(self, params: Any) -> tuple[Any, int, str | None]:
        found = self._walks.get(id(params))
        if found is None:
            text = self._file.add_value(dict(params)) if params else None
            found = self._walks[id(params)] = params, len(self._walks), text
        return found


class _ParamSets:
    """The param sets of one visit of a batch flow, as far as they are written."""

    def __init__(self, batch: Batch, number: int) -> None:
        self._batch, self._number = batch, number
        self.write_again()

    def write_again(self) -> None:
        """Write all of them next time, since they may be walked again."""
        self._open: list[int] = []  # those that have not ended
        self._seen = 0  # how many were looked at

    def write(self, file: JournalFile) -> None:
        """Write those that have ended."""
        for position, outcome in self._ended():
            batch, outcomes = self._batch, self._batch.outcomes
            result = outcomes.results[position]
            assert outcomes.actions is not None
            file.write_later(
                "INSERT OR REPLACE INTO param_set VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                self._number, position, file.add_value(batch.items.at(position)),
                None if result is PENDING else file.add_value(result), _action(outcomes.actions[position]),
                outcome.status, outcome.failed_at and column(outcome.failed_at), outcome.attempts,
                outcomes.seconds[position], *error_columns(outcome.error),
            )  # fmt: skip

    def _ended(self) -> Iterator[tuple[int, Outcome]]:
        """Iterate over those that have ended since the last time."""
        outcomes = self._batch.outcomes
        count = len(outcomes.results)
        still_open = []
        for position in [*self._open, *range(self._seen, count)]:
            outcome = outcomes.exceptional.get(position)
            if outcomes.results[position] is PENDING and (outcome is None or outcome.status in ("ok", "pending")):
                still_open.append(position)
            else:
                yield position, outcome or Outcome("ok", 1)
        self._open, self._seen = still_open, count


def column(text: Any) -> str:
    """Return a text as a column can hold it: a lone surrogate is written as its number."""
    return text_of(text).encode("utf-8", "backslashreplace").decode()


def error_columns(error: BaseException | None) -> tuple[str | None, str | None]:
    """Return the class and the text of an exception."""
    return (None, None) if error is None else (column(class_name(error)), column(text_of(error)))


def _action(action: Any) -> str | None:
    return None if action is None else column(action)
