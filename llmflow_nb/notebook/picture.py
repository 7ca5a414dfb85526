"""A drawing as an HTML image with a description for screen readers."""

import base64
from html import escape

from ..core.text import shown
from ..graph.model import FLOWS, GraphData

__all__ = ["description", "image"]

FAILED = ("failed", "partly")
MAX_NAMES = 8


def image(svg: str, text: str) -> str:
    """Return an HTML image that contains the drawing, so it is saved with the notebook and needs no network."""
    data = base64.b64encode(svg.encode()).decode()
    return f'<img src="data:image/svg+xml;base64,{data}" alt="{escape(text)}" style="max-width: 100%">'


def description(model: GraphData) -> str:
    """Return a sentence that replaces the picture. It is short, since a screen reader reads it without a pause."""
    steps = [node for node in model.nodes if node.kind not in FLOWS]
    names = ", ".join(shown(node.name) for node in steps[:MAX_NAMES]) + (", ..." if len(steps) > MAX_NAMES else "")
    statuses = model.status.nodes if model.status is not None else {}
    failed = [shown(node.name) for node in steps if node.id in statuses and statuses[node.id].state in FAILED]
    outcome = f"; failed: {', '.join(failed[:MAX_NAMES])}" if failed else ""
    return f"Graph of {shown(model.nodes[0].name)}: {names or 'no nodes'}{outcome}"
