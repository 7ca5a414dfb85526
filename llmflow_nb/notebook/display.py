"""How things show themselves when they are the last line of a cell."""

from collections.abc import Callable
from typing import Any

from ..core.node import BaseNode
from ..graph.model import graph_of
from ..graph.render import DrawingError
from ..graph.text import shown
from ..runs.run import Run
from .html import MAX_HTML, Summary, is_svg_only, to_html, to_text
from .lines import bundle_of
from .picture import description, image
from .run_graph import MAX_NODES, picture_of
from .summary import of_batch, of_run

__all__ = ["mimebundle"]

MAX_TEXT = 20_000
"""Characters of the outline."""


def mimebundle(thing: Any) -> dict[str, str]:
    """Return what is shown of a node, a run or a batch, in the forms that a front end can choose from. Never raises."""
    try:
        return _BUNDLES[type(thing)._shown_as](thing)
    except Exception as exc:
        return {"text/plain": f"<{shown(type(thing).__name__)}: it cannot be shown ({type(exc).__name__})>"}


def graph_bundle(node: BaseNode) -> dict[str, str]:
    """Return the graph of a node. Runs nothing of the user's.

    The drawing is there twice: as an image in HTML, which is the only form that JupyterLab shows of a notebook that is
    not trusted, and as plain SVG. The outline is there in any case; where nothing can be drawn, it says why.
    """
    try:
        model = graph_of(node, max_nodes=MAX_NODES)
        outline = model.outline()
    except Exception as exc:
        name = shown(type(node).__name__)
        return {"text/plain": f"<{name}: its graph cannot be shown ({type(exc).__name__})>"}
    if len(outline) > MAX_TEXT:
        outline = outline[:MAX_TEXT].rpartition("\n")[0] + "\n(cut here; print(flow.graph().outline()) shows all)"
    if len(model.nodes) > MAX_NODES:
        return {"text/plain": f"{outline}\n(not drawn: {len(model.nodes)} nodes; flow.graph().svg() draws them all)"}
    try:
        svg = model.svg()
    except DrawingError as exc:
        return {"text/plain": f"{outline}\n({exc})"}
    except Exception as exc:
        return {"text/plain": f"{outline}\n(not drawn: {type(exc).__name__})"}
    html = image(svg, description(model))
    closed = sum(cluster.is_closed for cluster in model.clusters)
    if closed:
        notice = f"{closed} inner flow{'s' * (closed != 1)} left closed: more than {MAX_NODES} nodes in all"
        outline += f"\n({notice}; flow.graph().svg() draws them)"
        html += f"<div>{notice}</div>"
    if is_svg_only():
        return {"image/svg+xml": svg, "text/plain": outline}
    return {"text/html": html, "image/svg+xml": svg, "text/plain": outline}


def summary_bundle(summary: Summary) -> dict[str, str]:
    """Return a summary as HTML and as text."""
    return {"text/html": to_html(summary), "text/plain": to_text(summary)}


def run_bundle(run: Run) -> dict[str, str]:
    """Return the graph of a run in the colours of what happened, above its summary."""
    made = summary_bundle(of_run(run))
    picture = picture_of(run)
    if len(picture) + len(made["text/html"]) > MAX_HTML:
        return made
    return {**made, "text/html": picture + made["text/html"]}


# By what a class says of itself, not by ``isinstance``: an object keeps its class when the package is reloaded.
_BUNDLES: dict[str, Callable[[Any], dict[str, str]]] = {
    "graph": graph_bundle,
    "run": run_bundle,
    "batch": lambda result: summary_bundle(of_batch(result)),
    "submitted": lambda submitted: bundle_of(submitted.run),
}
