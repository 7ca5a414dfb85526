"""The public methods of what a run leaves: the record of a run, a batch, a journal."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .display import HasGraph, Shown, ShownWithWidget, watcher_for

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from ...engine.events import Subscriber
    from ...graph.drawing import GraphModel
    from ...journal.journal import Journal
    from ...notebook.progress import Progress
    from ...runs.batch import BatchResult
    from ...runs.run import Run
    from ...stepper.stepper import Stepper


class RunMethods(HasGraph):
    """The methods of a run: draw it, resume it, and retry its failed rows."""

    _is_seen = False  # whether the record was read, or a display has shown how the run ended

    def _graph(self, **options: Any) -> "GraphModel":
        from ...notebook.run_graph import graph_of_run

        return graph_of_run(_run(self), **options)

    def resume(
        self,
        *,
        executor: "Executor | None" = None,
        subscribers: "Iterable[Subscriber]" = (),
        progress: "Progress" = "auto",
    ) -> Any:
        """Resume this run where it failed or was stopped, run it to its end, and return the last action.

        It uses ``shared`` and the nodes as they are now: first fix the cause and run its cell again. The hook that did
        not finish is run again. Completed work is not: an ``exec`` that returned, items of a batch that have a result,
        and param sets that succeeded. Failed items of the batch in progress are called again. Everything is added to
        this record. A batch starts from its first item if its generator was not read to the end. The same holds for
        another iterator that raised an error or was interrupted.

        Args:
            executor: As for `Flow.run`.
            subscribers: As for `Flow.run`. Those of the run are not used again.
            progress: As for `Flow.run`.

        Raises:
            RunStateError: The run is still running, it has finished, or it cannot be resumed.
            Exception: The exception that a hook raises now.
        """
        __tracebackhide__ = True
        from ...runs.options import RunOptions
        from ...runs.start import resume

        return resume(_run(self), RunOptions(executor, subscribers, watcher_for(progress)))

    def retry_failed(
        self, *, from_start: bool | None = None, executor: "Executor | None" = None, progress: "Progress" = "auto"
    ) -> "Run":
        """Retry the failed rows of all batches and update the record in place. Return this record.

        A failed param set is resumed (see `BatchResult.retry`), with the rows inside it. Other failed items are called
        again. The nodes after a batch are not run again. The arguments are those of `BatchResult.retry`.

        Raises:
            RunStateError: The run has not ended.
        """
        __tracebackhide__ = True
        from ...runs.retry import retry_failed_of_run

        return retry_failed_of_run(_run(self), from_start=from_start, executor=executor, watch=watcher_for(progress))


class BatchMethods(ShownWithWidget):
    """The methods of a batch: retry rows, and step through one row."""

    run: "Run"

    def resume(
        self,
        *,
        executor: "Executor | None" = None,
        subscribers: "Iterable[Subscriber]" = (),
        progress: "Progress" = "auto",
    ) -> Any:
        """Run ``post`` of this node again with the current results, then all nodes that follow. Return the last action.

        For a run with ``on_error="keep"`` in which rows failed: retry these rows first, then resume here. Rows that
        have a result are not called. The other rows are called again; if they fail again, ``post`` gets None for them,
        as in the run. The nodes that follow run from their start, with the current ``shared``, and are added to the
        record. If the node was visited several times, its latest visit is resumed.

        If the run failed or was stopped at this node, this is `Run.resume`.

        Args:
            executor: As for `Flow.run`.
            subscribers: As for `Flow.run`. Those of the run are not used again.
            progress: As for `Flow.run`.

        Raises:
            RunStateError: The run is still running, no row failed since ``post`` ran, or the node is inside a batch
                flow. Retry the param sets of that flow instead.
            Exception: The exception that a hook raises now.
        """
        __tracebackhide__ = True
        from ...runs.options import RunOptions
        from ...runs.start import resume

        return resume(self.run, RunOptions(executor, subscribers, watcher_for(progress)), batch=_batch(self))

    def retry_failed(
        self,
        *,
        post: bool = False,
        from_start: bool | None = None,
        executor: "Executor | None" = None,
        progress: "Progress" = "auto",
        **overrides: Any,
    ) -> "BatchResult":
        """Retry the failed rows and update this table in place. The arguments are those of `retry`."""
        __tracebackhide__ = True
        from ...runs.retry import retry_failed

        watch = watcher_for(progress)
        return retry_failed(_batch(self), overrides, post=post, from_start=from_start, executor=executor, watch=watch)

    def retry(
        self,
        rows: Any = None,
        *,
        post: bool = False,
        from_start: bool | None = None,
        executor: "Executor | None" = None,
        progress: "Progress" = "auto",
        **overrides: Any,
    ) -> "BatchResult":
        """Retry some rows with the current version of the node, and update this table in place.

        If the cell of the node's class was edited and run again, the retry uses the new class. ``prep`` is not run
        again: each call gets the same item as before. ``attempts`` and ``seconds`` are added up. If a row fails again,
        its error is in the row, and nothing is raised. A row that has a result keeps it until it gets a new one. The
        nodes after this one are not run, so what they wrote to ``shared`` does not change.

        A row of a batch flow is a whole param set. It resumes at the node where it failed or was stopped, with the same
        input, if its checkpoint was kept (for the first 1,000 failures) and ``shared`` still has the same keys and
        objects. Otherwise it starts at its first node, since another param set may have written to ``shared``.

        Args:
            rows: Labels of ``df``, a mask over it, or a part of it: ``result.retry(df[df["seconds"] > 10])``. If the
                labels are not numbers, a whole number is a row number, from 0. Default: every row without a
                result, whether it failed, was cancelled or is pending.
            post: True: run the node's ``post`` again, with all results, in each visit with a retried row. If no row is
                retried, run it in every visit. With ``on_error="raise"``, it is not run while a row of the visit has no
                result.
            from_start: For param sets: True starts them at their first node. False resumes them at the failed node,
                whatever ``shared`` has now, if the checkpoint was kept. None: as described above.
            executor: As for `Node.run`. The executor of the run is not used again.
            progress: As for `Node.run`.
            **overrides: Values of settings or other attributes of the node, for this retry only: ``max_retries=5``,
                ``max_concurrency=8``, ``model="larger"``.

        Raises:
            RunStateError: The run has not ended.
            RowError: There is no such row, a label names several, or an item was not kept.
            SettingError: The node has no such setting or attribute, or the value makes no sense.
            Exception: What ``post`` raised.
        """
        __tracebackhide__ = True
        from ...runs.retry import retry

        watch = watcher_for(progress)
        return retry(_batch(self), rows, overrides, post=post, from_start=from_start, executor=executor, watch=watch)

    def debug(self, row: Any) -> "Stepper":
        """Return a stepper that is at one row of this batch. The record and ``shared`` are not changed.

        For a batch node, the stepper is before ``exec``, with only this item, on a copy of the current ``shared``. For
        a batch flow, it is where this param set failed, on a copy of ``shared`` from then. If the param set did not
        fail, or its checkpoint was not kept, it is before the first node, on a copy of the current ``shared``.

        Args:
            row: The label of the row, as in ``.df``; if the labels are not numbers, also its number, from 0.

        Raises:
            RowError: There is no such row, several have this label, or its item was not kept.
        """
        from ...stepper.debug import debug

        return debug(_batch(self), row)


class JournalMethods(Shown):
    """The methods of a journal that show its runs."""

    _shown_as = "journal"

    def __getitem__(self, run: int) -> "Run":
        """Return a run as the same `Run` that ``last_run`` was: ``steps``, ``batch(...)``, ``graph()``.

        It needs neither the flow nor its classes, and it cannot be resumed or retried. Its ``shared`` is None, since a
        journal does not keep it. A run that was killed has the status "killed", and what had ended until then.

        Args:
            run: The number of the run, as in ``runs``. A negative one counts from the latest run, which is -1.

        Raises:
            RowError: (a KeyError) There is no such run.
            JournalError: There is no such file, or it is no journal.
        """
        from ...runs.stored import stored_run

        return stored_run(_journal(self), run)

    def __iter__(self) -> "Iterator[Run]":
        """Iterate over the runs, the earliest first."""
        return (self[number] for number in reversed(_journal(self).runs["run"].tolist()))


# A mixin cannot inherit from the class that it is mixed into. These return the same object with its real type.


def _run(self: RunMethods) -> "Run":
    return self  # type: ignore[return-value]


def _batch(self: BatchMethods) -> "BatchResult":
    return self  # type: ignore[return-value]


def _journal(self: JournalMethods) -> "Journal":
    return self  # type: ignore[return-value]
