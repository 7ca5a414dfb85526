"""The public methods of nodes, runs and batches that need the layers above: run, submit, graph, stepper, display.

Only this file imports from the layers above its own. It does so inside its functions, so that ``core`` can be imported
alone, and importing the package stays cheap.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from os import PathLike

    from ..engine.batch import Batch
    from ..engine.events import Subscriber
    from ..graph.builder import StyleFunction
    from ..graph.check import Problem
    from ..graph.drawing import GraphModel
    from ..journal.journal import Journal
    from ..notebook.progress import Progress
    from ..runs.run import Run, Watch
    from ..runs.run_plan import RunPlan
    from ..runs.submit import Submitted
    from ..stepper.stepper import Stepper
    from .node import BaseNode


def watcher_for(progress: "Progress") -> "Watch | None":
    """Return the function that shows the progress of a run; None for no progress.

    Raises:
        SettingError: ``progress`` is not one of the allowed values.
    """
    watch: Watch | None = _progress().watcher(progress)
    return watch


@cache  # an import statement in a function costs 1 us each time, and a short run takes 20 us
def _progress() -> Any:
    from ..notebook import progress

    return progress


@cache
def _start() -> Any:
    from ..runs import start

    return start


class Shown:
    """An object that is displayed as the last line of a cell."""

    _shown_as: ClassVar[str] = "graph"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """Show the graph of a flow, or the summary of a record. This runs no hook and never raises."""
        from ..notebook.display import mimebundle

        return mimebundle(self)


class HasGraph(Shown):
    """An object with a graph, which ``_graph`` returns."""

    _graph: "Callable[..., GraphModel]"

    def graph(
        self,
        *,
        depth: int | None = None,
        direction: str | None = None,
        legend: bool = False,
        style: "StyleFunction | None" = None,
    ) -> "GraphModel":
        """Return the graph of a flow: plain data, with ``dot()``, ``mermaid()``, ``outline()``, ``svg()``, ``save()``.

        As the last line of a cell it shows the drawing. The graph of a run is coloured by the status of its nodes.

        Args:
            depth: How many levels of nested flows are drawn with their nodes. None: all, up to 2,000 nodes.
            direction: "LR" draws from left to right, "TB" from top to bottom. None: the one that fits a cell.
            legend: Whether the drawing explains its shapes and symbols.
            style: A function that takes each `GraphNode` and returns its style: a dict with any of "color",
                "fillcolor", "fontcolor" (as "#rrggbb") and "penwidth", or None.

        Raises:
            ValueError: ``depth`` is below 0, ``direction`` is another one, or ``style`` returned something else.
        """
        return self._graph(depth=depth, direction=direction, legend=legend, style=style)


class RunMethods(HasGraph):
    """The methods of a run: draw it, and resume it."""

    _is_seen = False  # whether the record was read, or a display has shown how the run ended

    def _graph(self, **options: Any) -> "GraphModel":
        from ..notebook.run_graph import graph_of_run

        run: Any = self
        return graph_of_run(run, **options)

    def resume(self, *, executor: "Executor | None" = None, progress: "Progress" = "auto") -> Any:
        """Resume this run where it failed or was stopped, run it to its end, and return the last action.

        It uses ``shared`` and the nodes as they are now: first fix the cause and run its cell again. The hook that did
        not finish is run again. Completed work is not: an ``exec`` that returned, items of a batch that have a result,
        and param sets that succeeded. Failed items of the batch in progress are called again. Everything is added to
        this record. A batch starts from its first item if its generator was not read to the end. The same holds for
        another iterator that raised an error or was interrupted.

        Args:
            executor: As for `Flow.run`.
            progress: As for `Flow.run`.

        Raises:
            RunStateError: The run is still running, it has finished, or it cannot be resumed.
            Exception: The exception that a hook raises now.
        """
        __tracebackhide__ = True
        from ..runs.start import resume

        run: Any = self
        return resume(run, executor=executor, watch=watcher_for(progress))


class BatchMethods(Shown):
    """The methods of a batch: retry rows, and step through one row."""

    run: "Run"

    def _ipython_display_(self) -> None:
        """Show the widget. Without a kernel to serve it, IPython shows the forms of `_repr_mimebundle_`.

        Raises:
            NotImplementedError: There is none, which is how IPython is told.
        """
        from ..notebook.display import is_live, show_batch

        if not is_live():
            raise NotImplementedError
        result: Any = self
        show_batch(result)

    def _display_(self) -> Any:
        """Return the widget, for marimo, which asks for it by this name."""
        from ..notebook.display import table_of

        result: Any = self
        return table_of(result)

    def resume(self, *, executor: "Executor | None" = None, progress: "Progress" = "auto") -> Any:
        """Run ``post`` of this node again with the results of now, and all that follows. Return the last action.

        For a run in which rows had failed and were kept (``on_error="keep"``): retry them first, then resume here. No
        row that has a result is called. Rows that have none are called once more; if they fail again, ``post`` gets
        None for them, as in the run. The nodes that follow run from their start, with ``shared`` as it is now, and are
        added to the record. If the node was visited several times, its latest visit is resumed.

        If the run failed or was stopped at this node, this is `Run.resume`.

        Args:
            executor: As for `Flow.run`.
            progress: As for `Flow.run`.

        Raises:
            RunStateError: The run is still running, no row failed since ``post`` ran, or the node is inside a batch
                flow, whose param sets are retried instead.
            Exception: The exception that a hook raises now.
        """
        __tracebackhide__ = True
        from ..runs.start import resume

        result: Any = self
        return resume(self.run, executor=executor, watch=watcher_for(progress), batch=result)

    def debug(self, row: Any) -> "Stepper":
        """Return a stepper that is at one row of this batch. The record and ``shared`` are not changed.

        For a batch node it is before ``exec``, with this item and no others, on a copy of the present ``shared``. For a
        batch flow it is where this param set failed, on a copy of ``shared`` from then. If the param set did not fail,
        or its checkpoint was not kept, it is before the first node, on a copy of the present ``shared``.

        Args:
            row: The label of the row, as in ``.df``; if the labels are not numbers, also its number, from 0.

        Raises:
            RowError: There is no such row, several have this label, or its item was not kept.
        """
        from ..stepper.debug import debug

        result: Any = self
        return debug(result, row)

    def _retry_rows(self, chosen: "list[tuple[Batch, list[int]]]", overrides: dict[str, Any], **options: Any) -> None:
        __tracebackhide__ = True
        from ..runs.retry import retry

        result: Any = self
        retry(self.run, result.path, chosen, overrides, **options)


class ShownWithWidget(Shown):
    """An object that is displayed with a widget, if there is a kernel to serve it."""

    def _ipython_display_(self) -> None:
        """Show the widget, and a picture for a notebook without a kernel."""
        from ..notebook.display import show_stepper

        stepper: Any = self
        show_stepper(stepper)

    def _display_(self) -> Any:
        """Return the widget, for marimo, which asks for it by this name."""
        from ..notebook.display import view_of

        stepper: Any = self
        return view_of(stepper)


class ShownLive(Shown):
    """An object whose display is updated while its ``run`` is in progress."""

    def _ipython_display_(self) -> None:
        """Show the progress of the run, and update it in every cell that shows it."""
        from ..notebook.follow import show_live

        submitted: Any = self
        show_live(submitted.run)


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
        from ..runs.stored import stored_run

        journal: Any = self
        return stored_run(journal, run)

    def __iter__(self) -> "Iterator[Run]":
        """Iterate over the runs, the earliest first."""
        journal: Any = self
        return (journal[number] for number in reversed(journal.runs["run"].tolist()))


class NodeMethods(HasGraph):
    """The methods of a node or a flow: run it, draw it, step through it, check it."""

    @property
    def last_run(self) -> "Run | None":
        """The record of the latest run, also after an error or an interrupt. None before the first."""
        record: Run | None = self.__dict__.get("last_run")
        if isinstance(record, RunMethods):
            record._is_seen = True
        return record

    @last_run.setter
    def last_run(self, record: "Run | None") -> None:
        self.__dict__["last_run"] = record

    def run(
        self,
        shared: Any,
        *,
        executor: "Executor | None" = None,
        progress: "Progress" = "auto",
        subscribers: "Iterable[Subscriber]" = (),
        journal: "str | PathLike[str] | Journal | bool | None" = None,
        fresh: str | None = None,
    ) -> Any:
        """Run to the end and return the last action.

        This works in any cell and any thread, also with async hooks. These run on one background event loop, while
        a plain ``prep`` and ``post`` run in the caller's thread, one at a time.

        Args:
            shared: The object that the hooks read and write, usually a dict.
            executor: Any ``concurrent.futures.Executor``, which then runs the calls of ``exec``. Default: threads, if
                ``max_concurrency`` or ``timeout`` needs them. ``timeout`` starts when a call is submitted. A
                standard-library pool gets at most one call per worker, so calls do not queue.
            progress: "auto" shows the progress of a run that takes more than a second, in a notebook or on the standard
                error of a terminal. True always shows it, False never. A callable such as ``tqdm`` is called with
                ``total=`` and ``desc=`` for each batch; its result is updated and closed.
            subscribers: Objects that are notified of each event of the run.
            journal: A file, or a `Journal`, that answers calls of ``exec`` by the results of earlier runs, and keeps
                the new ones: a call is made once, also if the kernel dies. True: a file named after the flow, in the
                folder ``.llmflow``. `Run.resume` and the retries of this run use it too.
            fresh: The name or path of a node, or of an inner flow, whose calls are made again although the journal has
                their results. The new results replace these.

        Raises:
            WiringError: The flow has no start, or contains itself. No hook was called.
            JournalError: The journal cannot be opened: no hook was called. Or it cannot be written any more.
            Exception: The exception that a hook raised, with a note that says where. `last_run` has all results so far.
        """
        __tracebackhide__ = True
        watch = watcher_for(progress)
        return _start().run(
            _node(self),
            shared,
            executor=executor,
            subscribers=subscribers,
            watch=watch,
            journal=None if journal is False else journal,
            fresh=fresh,
        )

    async def run_async(
        self,
        shared: Any,
        *,
        executor: "Executor | None" = None,
        progress: "Progress" = "auto",
        subscribers: "Iterable[Subscriber]" = (),
        journal: "str | PathLike[str] | Journal | bool | None" = None,
        fresh: str | None = None,
    ) -> Any:
        """Run to the end on the caller's event loop, and return the last action. The arguments are those of `run`.

        A plain ``def exec`` that is called one at a time also runs on the loop and blocks it meanwhile.
        """
        __tracebackhide__ = True
        watch = watcher_for(progress)
        return await _start().run_async(
            _node(self),
            shared,
            executor=executor,
            subscribers=subscribers,
            watch=watch,
            journal=None if journal is False else journal,
            fresh=fresh,
        )

    def submit(
        self,
        shared: Any,
        *,
        executor: "Executor | None" = None,
        progress: "Progress" = "auto",
        subscribers: "Iterable[Subscriber]" = (),
        journal: "str | PathLike[str] | Journal | bool | None" = None,
        fresh: str | None = None,
    ) -> "Submitted":
        """Start a run in the background, and return at once a handle to follow, await and stop it.

        No hook runs in the caller's thread. ``prep`` and ``post`` run one at a time in a thread of their own, and the
        calls of ``exec`` in others, so that you can stop the run while a call blocks. The arguments are those of `run`.

        Raises:
            WiringError: The flow has no start, or contains itself. No hook was called.
        """
        from ..runs.submit import submit

        watch = watcher_for(progress)
        return submit(
            _node(self),
            shared,
            executor=executor,
            subscribers=subscribers,
            watch=watch,
            journal=None if journal is False else journal,
            fresh=fresh,
        )

    def plan(
        self, shared: Any, *, journal: "str | PathLike[str] | Journal | bool", fresh: str | None = None
    ) -> "RunPlan":
        """Return what a run with this journal would do: which calls it answers, which would be made, and why.

        No ``exec`` is called, nothing is written to the file, and neither ``shared`` nor the nodes nor `last_run`
        change. ``prep`` and ``post`` do run, on a copy of ``shared`` and of the nodes, as far as all results are known:
        what they do elsewhere, such as in a database, they do for a plan too. A node that waits for a result that is
        missing is listed as not known yet. Param sets are planned each by itself, as if none read what another writes.

        Of an input whose length is not known, such as a generator, the first 10,000 items are looked at.

        Args:
            shared: As for `run`.
            journal: As for `run`. If there is no such file yet, all calls are to be made.
            fresh: As for `run`.

        Raises:
            WiringError: The flow has no start, or contains itself.
            SettingError: ``shared`` cannot be copied, or ``fresh`` names no node of the flow.
            JournalError: The journal cannot be read.
        """
        from ..runs.planning import plan

        return plan(_node(self), shared, journal=journal, fresh=fresh)

    def _graph(self, **options: Any) -> "GraphModel":
        from ..graph.builder import graph_of

        return graph_of(_node(self), **options)

    def stepper(
        self,
        shared: Any,
        *,
        budget: int = 256_000_000,
        journal: "str | PathLike[str] | Journal | bool | None" = None,
    ) -> "Stepper":
        """Return a stepper before the first hook. It runs one hook at a time, and can also go back.

        Its commands are ``into``, ``over``, ``out``, ``run``, ``to_item``, ``back``, ``goto``, ``rerun``, ``set``,
        ``delete``, ``force``, ``mock``, ``as_test`` and ``stop``; ``help(Stepper)`` explains each. A stepper reuses the
        results of its own calls of ``exec``. Its record is ``stepper.record``; ``last_run`` does not change.

        Args:
            shared: As for `run`.
            budget: The approximate number of bytes for the history. Above it, the oldest places are evicted.
            journal: As for `run`. It is open while a command runs.

        Raises:
            WiringError: The flow has no start, or contains itself.
            SettingError: ``budget`` or ``journal`` makes no sense.
        """
        __tracebackhide__ = True
        from ..stepper.stepper import Stepper

        return Stepper(_node(self), shared, budget=budget, journal=None if journal is False else journal)

    def check(self) -> "list[Problem]":
        """Return the probable mistakes in the wiring, each with its path and what to do. No hook is called.

        The constant actions that ``post`` returns are read from its code. The problems are:

        - actions that ``post`` may return without an edge for them; edges whose action it never returns
        - nodes that are never reached, and loops without an exit
        - flows without a start node, and flows that contain themselves
        - one node object at two places, and an edge that was wired twice
        - methods with almost the name of a hook

        An action without an edge ends the flow. It is reported only if it looks like a mistake: it is almost the action
        of an edge, ``post`` never returns the action of an edge, or it looks like the name of a step, and another step
        already ends the flow.
        """
        from ..graph.check import check

        return check(_node(self))


def _node(self: NodeMethods) -> "BaseNode":
    """Return the same object with its real type: `NodeMethods` cannot inherit from `BaseNode`."""
    return self  # type: ignore[return-value]
