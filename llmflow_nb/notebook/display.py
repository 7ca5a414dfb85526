"""Displays of flows, runs, batches and steppers on the last line of a cell."""

from collections.abc import Callable
from contextlib import suppress
from html import escape
from typing import TYPE_CHECKING, Any

from ..core.errors import FlowError
from ..core.node import BaseNode
from ..core.text import class_name, many, shown
from ..graph.builder import graph_of
from ..graph.drawing import GraphModel
from ..graph.outline import problem_lines
from ..graph.render import DrawingError
from ..runs.batch import BatchResult
from ..runs.run import Run
from ..stepper.stepper import Stepper
from .comparison import comparison_bundle
from .follow import show_live
from .frontend import has_kernel, is_static, is_svg_only, publish
from .html import MAX_HTML, Summary, notes_html, to_html, to_text
from .lines import bundle_of
from .picture import description, image
from .run_graph import MAX_NODES, picture_of, with_status
from .summary import of_batch, of_journal, of_plan, of_run

if TYPE_CHECKING:
    from .stepper_view import StepperView
    from .table_view import TableView
    from .view import Places

__all__ = ["mimebundle", "show", "table_of", "view_of", "widget_of"]

MAX_TEXT = 20_000
"""The largest number of characters of an outline."""
PROBLEMS = 5
"""The number of problems listed below a drawing."""


def mimebundle(thing: Any) -> dict[str, Any]:
    """Return the display of an object in all its formats, from which a front end chooses. Never raises."""
    try:
        return _BUNDLES[type(thing)._shown_as](thing)
    except FlowError as exc:  # its text is written for the user
        return {"text/plain": f"<{shown(class_name(thing))}: {shown(exc, 400)}>"}
    except Exception as exc:
        return {"text/plain": f"<{shown(class_name(thing))}: it cannot be shown ({shown(class_name(exc))})>"}


def graph_bundle(node: BaseNode) -> dict[str, str]:
    """Return the display of the graph of a node. Runs no user code."""
    return model_bundle(graph_of(node, max_nodes=MAX_NODES), MAX_NODES)


def model_bundle(model: GraphModel, most: int = 2_000) -> dict[str, str]:
    """Return the display of a graph: the outline, and the drawing if the graph has at most ``most`` nodes.

    The drawing is included twice: as plain SVG, and as an image in HTML, the only format that JupyterLab shows in a
    notebook that is not trusted. If nothing can be drawn, the outline says why.
    """
    outline = model.outline()
    if len(outline) > MAX_TEXT:
        outline = outline[:MAX_TEXT].rpartition("\n")[0] + "\n(cut here; print(flow.graph().outline()) shows all)"
    if len(model.nodes) > most:
        return {"text/plain": f"{outline}\n(not drawn: {len(model.nodes)} nodes; flow.graph() draws them all)"}
    try:
        svg = model.svg()
    except DrawingError as exc:
        return {"text/plain": f"{outline}\n({exc})"}
    except Exception as exc:
        return {"text/plain": f"{outline}\n(not drawn: {type(exc).__name__})"}
    notes = problem_lines(model)
    notes = notes[:PROBLEMS] + [f"! {len(notes) - PROBLEMS} more: flow.check()"] * (len(notes) > PROBLEMS)
    closed = sum(cluster.is_closed for cluster in model.clusters)
    if closed and len(model.nodes) > 1:
        notes.append(f"{many(closed, 'inner flow')} left closed; flow.graph() opens all")
        outline += f"\n({notes[-1]})"
    html = image(svg, description(model)) + notes_html(notes)
    if is_svg_only():
        return {"image/svg+xml": svg, "text/plain": outline}
    if len(html) + len(svg) > MAX_HTML:  # one format keeps a saved notebook small
        return {"text/html": html, "text/plain": outline}
    return {"text/html": html, "image/svg+xml": svg, "text/plain": outline}


def summary_bundle(summary: Summary) -> dict[str, str]:
    """Return the display of a summary: HTML and text."""
    return {"text/html": to_html(summary), "text/plain": to_text(summary)}


def run_bundle(run: Run) -> dict[str, str]:
    """Return the display of a run: its graph above its summary."""
    bundle = summary_bundle(of_run(run))
    picture, why_none = picture_of(run)
    if why_none:
        html = f"{bundle['text/html']}\n{notes_html([f'({why_none})'])}"
        return {"text/html": html, "text/plain": f"{bundle['text/plain']}\n({why_none})"}
    if len(picture) + len(bundle["text/html"]) > MAX_HTML:
        return bundle
    return {**bundle, "text/html": picture + bundle["text/html"]}


def stepper_bundle(stepper: Stepper) -> dict[str, Any]:
    """Return the display of a stepper without its widget: its location, and the graph of its run so far."""
    model = with_status(graph_of(stepper.root, max_nodes=MAX_NODES), stepper.record)
    place = f"{shown(stepper.title)}\n{stepper.place}" if stepper.title else str(stepper.place)
    words = f"{place}\n\n{model.outline()}"
    try:
        html = f"<pre>{escape(place)}</pre>\n{image(model.svg(), description(model))}"
    except DrawingError as exc:
        html = f"<pre>{escape(words)}\n({escape(str(exc))})</pre>"
    return {"text/html": f'<div class="llmflow-step-still">{html}</div>', "text/plain": words}


def show(thing: Any) -> None:
    """Show an object in the cell, with its widget or with a display that is updated.

    Raises:
        NotImplementedError: There is no kernel to serve these, or displays may not differ from time to time.
    """
    if not has_kernel() or is_static():
        raise NotImplementedError
    _LIVE[type(thing)._shown_as](thing)


def widget_of(thing: Any) -> Any:
    """Return the widget of an object."""
    return _WIDGETS[type(thing)._shown_as](thing)


def publish_stepper(stepper: Stepper, places: "Places | None" = None) -> None:
    """Show the widget of a stepper, and the picture beside it: in new outputs, or in two reserved ones.

    The picture is redrawn after each command, since a saved notebook shows it.
    """
    from .view import publish_view

    publish_view(view_of(stepper), stepper_bundle(stepper), places)


def publish_steppers(steppers: list[Stepper]) -> None:
    """Show the widgets of steppers side by side, and the pictures below them."""
    from .view import publish_side_by_side

    publish_side_by_side([view_of(stepper) for stepper in steppers], list(map(stepper_bundle, steppers)))


def steppers_bundle(steppers: list[Stepper]) -> dict[str, Any]:
    """Return the display of steppers without their widgets."""
    bundles = list(map(stepper_bundle, steppers))
    html = "\n".join(bundle["text/html"] for bundle in bundles)
    return {"text/html": html, "text/plain": "\n\n".join(bundle["text/plain"] for bundle in bundles)}


def publish_batch(result: BatchResult) -> None:
    """Show the widget of a batch, and beside it what a saved notebook shows. Below is room for a stepper."""
    from .view import publish_view, reserve

    view = table_of(result)
    still = summary_bundle(of_batch(result))
    still["text/html"] = f'<div class="llmflow-step-still">{still["text/html"]}</div>'
    publish_view(view, still)
    view.places = reserve()


def table_of(result: BatchResult) -> "TableView":
    """Return the widget of a batch: the same one each time, as of now."""
    from .table_view import TableView

    view: TableView | None = result._view
    if view is None:
        view = result._view = TableView(result, publish_stepper)
    else:
        view.refresh()
    return view


def view_of(stepper: Stepper) -> "StepperView":
    """Return the widget of a stepper: the same one each time."""
    from .stepper_view import StepperView

    session = stepper._session
    if session.view is None:
        session.view = StepperView(stepper, lambda still_id: _draw_still(stepper, still_id))
    view: StepperView = session.view
    return view


def _draw_still(stepper: Stepper, still_id: str) -> None:
    """Redraw the picture that a saved notebook shows."""
    if has_kernel():
        with suppress(Exception):  # the front end may be gone
            publish(mimebundle(stepper), transient={"display_id": still_id}, update=True)


# Looked up by an attribute of the class, not by ``isinstance``: after a reload, old objects keep their old class.
_BUNDLES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "graph": graph_bundle,
    "model": model_bundle,
    "run": run_bundle,
    "plan": lambda plan: summary_bundle(of_plan(plan)),
    "batch": lambda result: summary_bundle(of_batch(result)),
    "comparison": comparison_bundle,
    "journal": lambda journal: summary_bundle(of_journal(journal)),
    "stepper": stepper_bundle,
    "steppers": lambda steppers: steppers_bundle(list(steppers.values())),
    "submitted": lambda submitted: bundle_of(submitted.run),
}
_LIVE: dict[str, Callable[[Any], object]] = {
    "batch": publish_batch,
    "stepper": publish_stepper,
    "steppers": lambda steppers: publish_steppers(list(steppers.values())),
    "submitted": lambda submitted: show_live(submitted.run),
}
_WIDGETS: dict[str, Callable[[Any], Any]] = {"batch": table_of, "stepper": view_of}
