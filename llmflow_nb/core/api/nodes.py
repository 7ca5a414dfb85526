"""The public methods of nodes and flows: run, plan, draw, step through, check."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from .display import HasGraph, watcher_for
from .records import RunMethods

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from os import PathLike

    from ...comparison.comparison import Comparison
    from ...engine.budget import Budget
    from ...engine.events import Subscriber
    from ...graph.check import Problem
    from ...graph.drawing import GraphModel
    from ...journal.journal import Journal
    from ...notebook.progress import Progress
    from ...runs.run import Run
    from ...runs.run_plan import RunPlan
    from ...runs.submit import Submitted
    from ...stepper.stepper import Stepper
    from ..node import BaseNode


@cache
def _start() -> Any:
    from ...runs import start

    return start


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
        budget: "Budget | None" = None,
    ) -> Any:
        """Run to the end and return the last action.

        This works in any cell and any thread, also with async hooks. Async hooks run on one background event loop. A
        plain ``prep`` or ``post`` runs in the caller's thread. Only one of them runs at a time.

        Args:
            shared: The object that the hooks read and write, usually a dict.
            executor: Any ``concurrent.futures.Executor``, which then runs the calls of ``exec``. Default: threads, if
                ``max_concurrency`` or ``timeout`` needs them. ``timeout`` starts when a call is submitted. A
                standard-library pool gets at most one call per worker, so calls do not queue.
            progress: "auto" shows the progress of a run that takes more than a second, in a notebook or on the standard
                error of a terminal. True always shows it, False never. A callable such as ``tqdm`` is called with
                ``total=`` and ``desc=`` for each batch; its result is updated and closed.
            subscribers: Objects that are notified of each event of the run.
            journal: A file name or a `Journal`. It answers calls of ``exec`` with the results of earlier runs, and
                keeps new results: a call is made once, even if the kernel dies. True: a file named after the flow, in
                the folder ``.llmflow``. `Run.resume` and the retries of this run use it too.
            fresh: The name or path of a node, or of an inner flow. Its calls are made even if the journal has their
                results. The new results replace the old results.
            budget: A `Budget`, which limits the calls or the cost of this run and of all other runs that share it. It
                also applies to `Run.resume` and to the retries of this run.

        Raises:
            WiringError: The flow has no start, or contains itself. No hook was called.
            BudgetError: The next call would exceed the budget. The calls in progress have ended, see ``grace``.
            JournalError: The journal cannot be opened, and no hook was called. Or it can no longer be written.
            Exception: The exception that a hook raised, with a note that says where. `last_run` has all results so far.
        """
        __tracebackhide__ = True
        options = _start().RunOptions(executor, subscribers, watcher_for(progress), journal, fresh, budget)
        return _start().run(_node(self), shared, options)

    async def run_async(
        self,
        shared: Any,
        *,
        executor: "Executor | None" = None,
        progress: "Progress" = "auto",
        subscribers: "Iterable[Subscriber]" = (),
        journal: "str | PathLike[str] | Journal | bool | None" = None,
        fresh: str | None = None,
        budget: "Budget | None" = None,
    ) -> Any:
        """Run to the end on the caller's event loop, and return the last action. The arguments are those of `run`.

        Without concurrency or a ``timeout``, a plain ``def exec`` also runs on the loop, and blocks it.
        """
        __tracebackhide__ = True
        options = _start().RunOptions(executor, subscribers, watcher_for(progress), journal, fresh, budget)
        return await _start().run_async(_node(self), shared, options)

    def submit(
        self,
        shared: Any,
        *,
        executor: "Executor | None" = None,
        progress: "Progress" = "auto",
        subscribers: "Iterable[Subscriber]" = (),
        journal: "str | PathLike[str] | Journal | bool | None" = None,
        fresh: str | None = None,
        budget: "Budget | None" = None,
    ) -> "Submitted":
        """Start a run in the background, and return at once a handle to follow, await and stop it.

        No hook runs in the caller's thread. ``prep`` and ``post`` run one at a time in a separate thread. Calls of
        ``exec`` run in other threads, so that you can stop the run while a call blocks. The arguments are those of
        `run`.

        Raises:
            WiringError: The flow has no start, or contains itself. No hook was called.
        """
        from ...runs.submit import submit

        options = _start().RunOptions(executor, subscribers, watcher_for(progress), journal, fresh, budget)
        return submit(_node(self), shared, options)

    def plan(
        self, shared: Any, *, journal: "str | PathLike[str] | Journal | bool", fresh: str | None = None
    ) -> "RunPlan":
        """Return which calls this journal would answer in a run, which calls would be made, and why.

        No ``exec`` is called, nothing is written to the file, and neither ``shared`` nor the nodes nor `last_run`
        change. ``prep`` and ``post`` do run, on a copy of ``shared`` and of the nodes, as long as all results are
        known. So a plan also makes their other changes, such as in a database. A node that needs a missing result is
        listed as not known yet. Each param set is planned alone, as if no param set read what another one writes.

        If earlier calls have reported their tokens with `spend`, the plan estimates the cost of the calls to make.

        If the length of an input is not known, as for a generator, the plan covers its first 10,000 items.

        Args:
            shared: As for `run`.
            journal: As for `run`. If the file does not exist yet, all calls would be made.
            fresh: As for `run`.

        Raises:
            WiringError: The flow has no start, or contains itself.
            SettingError: ``shared`` cannot be copied, or ``fresh`` names no node of the flow.
            JournalError: The journal cannot be read.
        """
        from ...runs.planning import plan

        return plan(_node(self), shared, journal=journal, fresh=fresh)

    def compare(
        self,
        shared: Any,
        *,
        of: str | None = None,
        score: "Callable[[Any, Any], Any] | BaseNode | str | None" = None,
        repeat: int = 1,
        journal: "str | PathLike[str] | Journal | bool | None" = None,
        executor: "Executor | None" = None,
        budget: "Budget | None" = None,
        progress: "Progress" = "auto",
        subscribers: "Iterable[Subscriber]" = (),
        **variants: "Mapping[str, Any]",
    ) -> "Comparison":
        """Run variants of this flow on the same input, and return their results and scores side by side.

        Each variant is a name and its changes. ``{"Label.prompt": text}`` sets an attribute of a node, and
        ``{"Label": other}`` puts another class or node in its place. ``{}`` is the flow as it is. The first variant is
        the baseline::

            flow.compare(shared, old={}, new={"Label.prompt": "..."}, score=is_right)

        Each variant is a run of its own, on a copy of the flow and of ``shared``: neither these nor `last_run` change.
        A call that does not differ between variants is made once. If a comparison fails, is interrupted or exceeds its
        budget, run the cell again: only the missing calls are made.

        Args:
            shared: As for `run`. An iterator in it is refused, since each variant reads it.
            of: The name or path of the batch node or batch flow whose rows are compared, or of a node: its last result
                is one row. Default: the batch node, the last one if there are several. If there is none: the outermost
                batch flow, or the result of the last node that has an ``exec`` of its own.
            score: A function ``(item, result)`` that returns a number, a bool or a dict of these, whose first field
                decides. Or a judge: a `BatchNode`, whose ``exec`` gets a dict with ``"item"`` and ``"result"``. Or the
                name of a later batch node, whose results are the scores. Default: only differences are shown.
            repeat: How often each variant is run. Each time, the changed nodes and all nodes after them are called
                again. The other nodes are called once.
            journal: As for `run`. Later comparisons reuse the results too: the same comparison calls nothing.
            executor: As for `run`. A judge is called in this process.
            budget: As for `run`, for all runs and the judge together; a score function is free.
            progress: As for `run`.
            subscribers: As for `run`, of the runs of all variants and of the judge.
            **variants: A dict of changes for each name. If a name is not an identifier: ``**{"gpt-4.1": {...}}``.

        Raises:
            SettingError: A variant or an option makes no sense, or ``shared`` cannot be copied. No hook was called.
            Exception: Any error of `run`, such as the exception that a hook raised.
        """
        __tracebackhide__ = True
        from ...comparison.compare import compare

        options = _start().RunOptions(executor, subscribers, watcher_for(progress), journal, budget=budget)
        return compare(_node(self), shared, variants, options, of=of, score=score, repeat=repeat)

    def _graph(self, **options: Any) -> "GraphModel":
        from ...graph.builder import graph_of

        return graph_of(_node(self), **options)

    def stepper(
        self,
        shared: Any,
        *,
        max_bytes: int = 256_000_000,
        journal: "str | PathLike[str] | Journal | bool | None" = None,
    ) -> "Stepper":
        """Return a stepper, which runs one hook at a time and can go back. It starts before the first hook.

        Its commands are ``into``, ``over``, ``out``, ``run``, ``to_item``, ``back``, ``goto``, ``rerun``, ``set``,
        ``delete``, ``force``, ``mock``, ``as_test`` and ``stop``; ``help(Stepper)`` explains each. A stepper reuses the
        results of its own calls of ``exec``. Its record is ``stepper.record``; ``last_run`` does not change.

        Args:
            shared: As for `run`.
            max_bytes: The approximate size of the history. Above it, the oldest places are evicted.
            journal: As for `run`. It is open while a command runs.

        Raises:
            WiringError: The flow has no start, or contains itself.
            SettingError: ``max_bytes`` or ``journal`` makes no sense.
        """
        __tracebackhide__ = True
        from ...stepper.stepper import Stepper

        return Stepper(_node(self), shared, max_bytes=max_bytes, journal=None if journal is False else journal)

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
        from ...graph.check import check

        return check(_node(self))


def _node(self: NodeMethods) -> "BaseNode":
    """Return the same object with its real type: `NodeMethods` cannot inherit from `BaseNode`."""
    return self  # type: ignore[return-value]
