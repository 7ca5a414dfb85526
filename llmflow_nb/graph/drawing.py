"""A graph that can be drawn and saved: the one file that imports the writers.

To add a writer, write a function from `GraphData` to the text (or bytes) of a file, in a file of its own such as
``mermaid.py``, and add it to `WRITERS` below with the suffix of its files. `GraphModel.save` then writes that form. A
form that is read as text also gets a method of `GraphModel`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ..core.api.display import Shown
from ..core.errors import SettingError
from ..core.text import quoted, shown
from .dot import digraph_of, dot_of
from .mermaid import mermaid_of
from .model import GraphData
from .outline import outline_of
from .render import draw_file
from .svg import svg_of

if TYPE_CHECKING:
    from graphviz import Digraph

__all__ = ["WRITERS", "GraphModel"]


WRITERS: dict[str, Callable[[GraphData], str | bytes]] = {
    ".svg": svg_of,
    ".dot": dot_of,
    ".mmd": mermaid_of,
    ".txt": outline_of,
    ".png": lambda model: draw_file(dot_of(model), "png"),
    ".pdf": lambda model: draw_file(dot_of(model), "pdf"),
}
"""The functions that `GraphModel.save` calls, by the suffix of the file. A text gets a line break at its end."""


@dataclass(frozen=True, slots=True, repr=False)
class GraphModel(GraphData, Shown):
    """A flow as a graph. On the last line of a cell it shows the drawing.

    Holds what `GraphData` holds, so that any code can read it.
    """

    _shown_as: ClassVar[str] = "model"

    def dot(self) -> str:
        """Return the graph in the DOT language."""
        return dot_of(self)

    def digraph(self) -> "Digraph":
        """Return the graph as a ``graphviz.Digraph``, to be extended and drawn with the ``graphviz`` package."""
        return digraph_of(self)

    def mermaid(self) -> str:
        """Return the graph in the Mermaid language, for a README or a wiki."""
        return mermaid_of(self)

    def outline(self) -> str:
        """Return the graph as indented text, which a screen reader can read."""
        return outline_of(self)

    def svg(self, *, backend: str | None = None) -> str:
        """Return the drawing as an ``<svg>`` element without external references.

        Args:
            backend: The program that draws: "dot" (the program of Graphviz), "wasi" (Graphviz as WebAssembly), or
                "auto" for the first one available. Default: the environment variable ``LLMFLOW_NB_GRAPHVIZ``, else
                "auto".

        Raises:
            ValueError: Unknown backend.
            DrawingError: No backend is available, or it failed; says what to do.
        """
        return svg_of(self, backend)

    def save(self, path: str | Path) -> Path:
        """Write the graph to a file, in the format of its suffix, and return its path.

        ``.svg``, ``.dot``, ``.mmd`` (Mermaid) and ``.txt`` (the outline) need no other program; ``.png`` and ``.pdf``
        need the ``dot`` program of Graphviz, which also lays them out: they show the same graph, in a plainer drawing.
        An existing file is replaced.

        Raises:
            ValueError: Unknown suffix.
            DrawingError: No backend is available to draw the graph.
        """
        path = Path(path)
        write = WRITERS.get(path.suffix.lower())
        if write is None:
            raise SettingError(f"save({quoted(path.name)}): the name must end in one of {', '.join(WRITERS)}.")
        written = write(self)
        if isinstance(written, bytes):
            path.write_bytes(written)
        else:
            path.write_text(written + "\n", encoding="utf-8")
        return path

    def __repr__(self) -> str:
        """Return the name of the graph and its size."""
        return f"<GraphModel of {shown(self.nodes[0].name)}: {len(self.nodes)} nodes, {len(self.edges)} edges>"
