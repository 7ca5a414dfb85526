"""The journal of one run: opened for the run, and again for each resume and retry."""

from collections.abc import Callable
from typing import Any

from ..core.node import BaseNode
from ..journal.history import RunHistory
from ..journal.journal import as_journal
from ..journal.session import JournalSession
from .recorder import RunRecorder

__all__ = ["RunJournal"]


class RunJournal:
    """Connects the record of a run to a journal.

    Attributes:
        journal: The journal.
        outlook: Returns what is known of the calls that the run will make; "" if nothing is.
    """

    def __init__(self, journal: Any, node: BaseNode, name: str, recorder: RunRecorder) -> None:
        """Open nothing yet. ``journal`` is that of `BaseNode.run`."""
        self.journal = as_journal(journal, name)
        self.outlook: Callable[[], str] = str
        self._node, self._name, self._recorder = node, name, recorder
        self._history = RunHistory(node, name, recorder)

    def open(self, **options: Any) -> JournalSession:
        """Open the journal.

        Args:
            **options: See `JournalSession`.
        """
        session = JournalSession(self.journal, self._node, self._history, **options)
        self.outlook = session.outlook
        return session

    def end(self, session: JournalSession, status: str, action: Any = None, error: BaseException | None = None) -> None:
        """Close the journal, and add to the record what could not be kept and how many calls the journal answered."""
        self.outlook = str
        self._recorder.notes.append((self._name, session.summary))
        for text in session.end(status, action, error):
            self._recorder.add_problem(text)
