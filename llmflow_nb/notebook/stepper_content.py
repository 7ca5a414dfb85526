"""What the widget of a stepper shows now: the values of its traits, by what the user has chosen to see."""

import re
from typing import Any

from ..graph.builder import graph_of
from ..graph.drawing import GraphModel
from ..graph.outline import outline_of
from ..graph.render import DrawingError
from ..stepper.stepper import Stepper
from . import stepper_state as state
from .node_facts import look
from .run_graph import MAX_NODES
from .stepper_requests import Request
from .values import ValueTexts

__all__ = ["StepperContent"]

Traits = dict[str, Any]
"""Values for the front end, by the names of the traits of `StepperView`."""


class StepperContent:
    """What is shown of one stepper, and what the user has chosen: closed flows, a node, a place to compare with.

    Each choice is made by a request of the front end, and returns the traits that it changes.
    """

    def __init__(self, stepper: Stepper) -> None:
        self._stepper = stepper
        self._closed: set[str] = set()  # the paths of flows that are drawn as one node
        self._path = ""  # of the node that the user looks at; "" for none
        self._number = -1  # of the place to compare with; none if there is no such place
        self._rows: dict[int, dict[str, Any]] = {}  # of the history, by the numbers of places
        self._model = self._graph()

    def _graph(self) -> GraphModel:
        return graph_of(self._stepper.root, max_nodes=MAX_NODES, closed=self._closed)

    def drawing(self) -> Traits:
        """Return the graph: its text, and if Graphviz can draw it, the picture with the nodes in it."""
        model = self._model
        found: Traits = {"outline": outline_of(model)}
        try:
            svg = model.svg()
        except DrawingError:
            return found
        if (prefix := re.match(r'<svg[^>]*><g id="(g[0-9a-f]{10}-)', svg)) is not None:
            found["nodes"] = {f"{prefix[1]}n{i}": node.id for i, node in enumerate(model.nodes)}
        return found | {"svg": svg}

    def place(self) -> Traits:
        """Return all but the graph, which is the same at each place."""
        stepper, model, history, texts = self._stepper, self._model, self._stepper._session.history, ValueTexts()
        is_chosen = 0 <= self._number < len(history.entries)
        compared = history.entries[self._number] if is_chosen else history.now
        return {
            "place": state.place(stepper, model, texts),
            "marks": state.marks(model, stepper),
            "shared": state.keys(history.now, texts),
            "places": state.places(history, self._rows),
            "looked": look(stepper, model, self._path, texts) if self._path else {},
            "compared": {} if compared is history.now else state.comparison(compared, history.now, texts),
        }

    def look_at(self, request: Request) -> Traits:
        """Show what there is to know of a node; without a path no longer."""
        path = str(request.get("path") or "")
        self._path = path if any(node.id == path for node in self._model.nodes) else ""
        return self.place()

    def compare_with(self, request: Request) -> Traits:
        """Show what differs between a place and the current one; without a number no longer."""
        self._number = int(request.get("number", -1))
        entries = self._stepper._session.history.entries
        if 0 <= self._number < len(entries):
            entries[self._number].require_saved()
        return self.place()

    def fold(self, request: Request) -> Traits:
        """Draw the graph with a flow closed, or open again."""
        path = str(request["path"])
        if path not in {cluster.id for cluster in self._model.clusters[1:]}:
            return {}
        self._closed ^= {path}
        self._model = self._graph()
        return self.drawing() | self.place()

    def whole(self, id: str) -> str:
        """Return the whole text of a value."""
        return state.whole_text(self._stepper, id, ValueTexts())
