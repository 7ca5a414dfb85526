"""How objects are displayed, and how the progress of a run is shown."""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from ...graph.builder import StyleFunction
    from ...graph.drawing import GraphModel
    from ...notebook.progress import Progress
    from ...runs.run import Watch


def watcher_for(progress: "Progress") -> "Watch | None":
    """Return the function that shows the progress of a run; None for no progress.

    Raises:
        SettingError: ``progress`` is not one of the allowed values.
    """
    watch: Watch | None = _progress().watcher(progress)
    return watch


@cache  # an import statement in a function costs 1 us each time, and a short run takes 20 us
def _progress() -> Any:
    from ...notebook import progress

    return progress


class Shown:
    """An object that is displayed as the last line of a cell."""

    _shown_as: ClassVar[str] = "graph"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """Show the graph of a flow, or the summary of a record. This runs no hook and never raises."""
        from ...notebook.display import mimebundle

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


class ShownLive(Shown):
    """An object with another display where a kernel answers or updates it."""

    def _ipython_display_(self) -> None:
        """Show it in this cell, with its widget or with a display that is updated.

        Raises:
            NotImplementedError: There is no kernel. IPython then shows the forms of `_repr_mimebundle_`.
        """
        from ...notebook.display import show

        show(self)


class ShownWithWidget(ShownLive):
    """An object with a widget."""

    def _display_(self) -> Any:
        """Return the widget, for marimo, which asks for it by this name."""
        from ...notebook.display import widget_of

        return widget_of(self)
