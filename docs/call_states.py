"""The states of a call, drawn from the engine's own table: for the architecture page."""

from llmflow_nb.engine.calls import NEXT_STATE
from llmflow_nb.graph.drawing import GraphModel
from llmflow_nb.graph.model import GraphEdge, GraphNode

__all__ = ["picture"]


def picture() -> GraphModel:
    """Return the states as a graph: an edge for each event that may happen in a state."""
    nodes = tuple(GraphNode(state, state, "Node", "node") for state in NEXT_STATE)
    edges = tuple(
        GraphEdge(state, following, event) for state, steps in NEXT_STATE.items() for event, following in steps.items()
    )
    return GraphModel(nodes, edges)
