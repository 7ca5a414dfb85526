"""One run with a journal: it opens the file, answers calls, and writes how the run has ended."""

from typing import Any

from ..core.errors import JournalError
from ..core.node import BaseNode
from ..core.traversal import within
from .answers import Answers
from .explained import EarlierCalls
from .file import JournalFile
from .history import RunHistory
from .journal import Journal
from .keys import CallKey, CallKeys
from .outlook import RunAnswers
from .run_code import RunCode
from .store import RunStore
from .unseen import unseen

__all__ = ["JournalSession"]


class _Retries(Answers):
    """Does not answer calls of failed rows, and stores their results after the results of equal calls.

    The same input may be in several rows of a batch, and the rows that succeeded have their results.
    """

    _store: RunStore

    def _next_occurrence(self, key: CallKey) -> int:
        nth = self.occurrences[key.digest]
        while self._store.has(key, nth):
            nth += 1
        self.occurrences[key.digest] = nth + 1
        return nth


class JournalSession:
    """The journal of one run, while it runs.

    Attributes:
        answers: Answers the calls of the run, and keeps their results.
    """

    answers: Answers

    _code: RunCode | None = None  # before it is read

    def __init__(self, journal: Journal, node: BaseNode, history: RunHistory, *, retries_rows: bool = False) -> None:
        """Open the file for a run.

        Args:
            journal: The journal.
            node: The node or flow that is run.
            history: What the file has of this run.
            retries_rows: Whether failed rows of batch nodes are called again, and nothing else.

        Raises:
            JournalError: See `JournalFile.opened`. Nothing was called.
        """
        self._node, self._history = node, history
        self._file = JournalFile.opened(journal.path, self)
        try:
            self._code = RunCode(node)
            history.begin(self._file)
            store = self._store = RunStore(self._file, history, journal._types)
        except BaseException:
            self._close()
            raise
        keys = CallKeys(self._code.fingerprints)
        earlier = EarlierCalls(self._file.read_all, before=history.run)
        self.answers = _Retries(store, keys) if retries_rows else RunAnswers(store, keys, earlier, self._file.path.name)

    def _close(self) -> None:
        try:
            if self._code is not None:
                self._code.close()
        finally:
            self._file.close(self)

    def outlook(self) -> str:
        """Return what is known of the calls that the run makes, in a line; "" if nothing is."""
        return self.answers.outlook if isinstance(self.answers, RunAnswers) else ""

    @property
    def summary(self) -> str:
        """How many calls the journal has answered, in a line."""
        counts = self.answers.counts
        replayed, called = counts["replayed"], counts["called"]
        explained = self.answers.summary() if isinstance(self.answers, RunAnswers) else ""
        if explained:
            return explained
        text = f"{replayed} of {replayed + called} calls answered by {self._file.path.name}"
        return f"{text}; Journal(...).why() says why the others were made" if called and self._history.run > 1 else text

    def end(self, status: str, action: Any = None, error: BaseException | None = None) -> list[str]:
        """Write how the run has ended, close the file, and return what users should know."""
        notes = [f"{path}: {note}" for path, note in self.answers.notes.items()]
        notes += filter(None, map(unseen, within(self._node)))
        try:
            self.answers.end_calls()
            self._history.end(status, action, error, self.answers.counts, notes)
        except JournalError as exc:  # the results are in the record
            self._store.failure = self._store.failure or exc
        finally:
            self._close()
        if self._store.failure is not None:
            notes.append(f"results were not kept: {self._store.failure}")
        return notes
