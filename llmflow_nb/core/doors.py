"""The methods of a node that open the layers above.

The one place that looks up: each method imports what it needs inside itself, so that ``core`` stands alone and
importing the package stays cheap.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from ..engine.events import Subscriber
    from ..graph.model import GraphModel
    from ..runs.run import Run
    from .node import BaseNode


class Doors:
    """Run, draw and look back at a node or a flow."""

    last_run: "Run | None" = None
    """The record of the latest run, also after an error or an interrupt. None before the first."""

    def run(self, shared: Any, *, executor: "Executor | None" = None, subscribers: "Iterable[Subscriber]" = ()) -> Any:
        """Run to the end and return the last action.

        Works in any cell and any thread, also with async hooks: those run on one background event loop, while ``prep``
        and ``post`` that are plain functions run here, one at a time.

        Args:
            shared: What the hooks read and write, usually a dict.
            executor: Any ``concurrent.futures.Executor`` to make the calls of ``exec`` in. Default: threads, where
                ``max_concurrency`` or ``timeout`` asks for them. A ``timeout`` counts from when a call is submitted.
            subscribers: Objects that are told of every event of the run.

        Raises:
            WiringError: The flow has no start, or contains itself. Nothing has run.
            Exception: Whatever a hook raised, with a note that says where. `last_run` holds what was finished.
        """
        __tracebackhide__ = True
        from ..runs.start import run

        return run(_node(self), shared, executor=executor, subscribers=subscribers)

    async def run_async(
        self, shared: Any, *, executor: "Executor | None" = None, subscribers: "Iterable[Subscriber]" = ()
    ) -> Any:
        """Run to the end on the caller's event loop and return the last action. As `run` otherwise.

        A plain ``def exec`` that is called one at a time runs on the loop too, and blocks it while it does.
        """
        __tracebackhide__ = True
        from ..runs.start import run_async

        return await run_async(_node(self), shared, executor=executor, subscribers=subscribers)

    def graph(self) -> "GraphModel":
        """Return the flow as a graph: plain data, with ``dot()`` and ``outline()`` to write it."""
        from ..graph.model import graph_of

        return graph_of(_node(self))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Show the graph when the flow is the last line of a cell."""
        from ..notebook.display import mimebundle

        return mimebundle(_node(self))


def _node(self: Doors) -> "BaseNode":
    """Say what a class with these methods is, which it cannot inherit from."""
    return self  # type: ignore[return-value]
