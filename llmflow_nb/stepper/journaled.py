"""The journal of a stepper: it is open while a command runs, so that other processes can use it in between."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from ..core.errors import JournalError
from ..journal.file import JournalFile
from ..journal.history import RunHistory
from ..journal.journal import Journal
from ..journal.store import RunStore
from ..runs.run import Run
from .replay import Replay

__all__ = ["StepperJournal"]


class StepperJournal:
    """Gives the results of a file to a stepper, and writes its calls to the file."""

    def __init__(self, journal: Journal, record: Run, cache: Replay) -> None:
        """Open nothing yet.

        Args:
            journal: The journal.
            record: The record of the stepper.
            cache: The result cache of the stepper.
        """
        self._journal, self._record, self._cache = journal, record, cache
        self._history = RunHistory(record.node, f"{record.name} (stepper)", record._recorder)
        self._counted: Counter[str] = Counter()

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Open the file for one command.

        Raises:
            JournalError: It cannot be opened: no hook was called. Or it could not be written to the end.
        """
        file = JournalFile.opened(self._journal.path, self)
        try:
            self._history.begin(file)
            self._cache.file = RunStore(file, self._history, self._journal._types)
            try:
                yield
            finally:
                self._end()
        finally:
            file.close(self)

    def _end(self) -> None:
        store, self._cache.file = self._cache.file, None
        assert store is not None
        record, cache = self._record, self._cache
        new, self._counted = cache.counts - self._counted, cache.counts.copy()
        status = record.status if record.status != "running" else "stopped"
        if store.failure is None:
            self._history.rewrite()
            notes = [f"{path}: {note}" for path, note in cache.notes.items()]
            self._history.end(status, record.action, record.error, new, notes)
        else:
            raise JournalError(f"results were not kept: {store.failure}")
