"""A drawing as an HTML image, with a sentence in its place for who cannot see it."""

import base64
from html import escape

from ..core.text import shown
from ..graph.model import FLOWS, GraphModel

BAD = ("failed", "partly")

__all__ = ["description", "image"]


def image(svg: str, text: str) -> str:
    """Return an HTML image that holds the drawing itself, saved with the notebook, in need of no network."""
    data = base64.b64encode(svg.encode()).decode()
    return f'<img src="data:image/svg+xml;base64,{data}" alt="{escape(text)}" style="max-width: 100%">'


def description(model: GraphModel) -> str:
    """Return a sentence in place of the picture.

    The outline has the details; an image's description is read in one go.
    """
    steps = [node for node in model.nodes if node.kind not in FLOWS]
    names = ", ".join(shown(node.name) for node in steps[:8]) + (", ..." if len(steps) > 8 else "")
    marks = model.look.marks
    failed = (
        [] if marks is None else [node for node in steps if (mark := marks.nodes.get(node.id)) and mark.state in BAD]
    )
    went = f"; failed: {', '.join(shown(node.name) for node in failed[:8])}" if failed else ""
    return f"Graph of {shown(model.nodes[0].name)}: {names or 'no steps'}{went}"
