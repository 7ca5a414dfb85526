"""Draw a graph as SVG that is safe to show: only the elements and attributes listed here, without any reference.

Names in the drawing may come from a model, so Graphviz's SVG is not trusted. An XML parser reads it, and a new SVG is
written from the lists below.
"""

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from html import escape
from xml.etree import ElementTree

from ..core.text import shown
from .dot import FONT, dot_of
from .model import GraphData, GraphNode
from .render import DrawingError, draw, draw_file

__all__ = ["clean", "file_of", "svg_of"]

ELEMENTS = frozenset({"svg", "g", "title", "text", "path", "polygon", "polyline", "ellipse"})
# fmt: off
ATTRIBUTES = frozenset((
    "width", "height", "viewBox", "id", "class", "transform", "d", "points", "cx", "cy", "rx", "ry", "x", "y",
    "fill", "fill-opacity", "stroke", "stroke-opacity", "stroke-width", "stroke-dasharray",
    "text-anchor", "font-family", "font-size", "font-style", "font-weight",
))
# fmt: on
# Numbers, words, colours, lists of them. "url(...)" would be a reference.
_VALUE = re.compile(r"(?!.*url)[\w\s.,#%()+-]*", re.IGNORECASE | re.DOTALL)
SMALL = "9"
_SPACE = "{http://www.w3.org/2000/svg}"


def svg_of(model: GraphData, backend: str | None = None) -> str:
    """Draw the graph. See `GraphModel.svg`.

    Raises:
        SettingError: Unknown backend.
        DrawingError: No backend is available, or it failed; says what to do.
    """
    drawing = draw(dot_of(model), backend)
    if drawing.svg is None:
        raise DrawingError(f"{shown(model.nodes[0].name)} cannot be drawn: {drawing.reason}. Use outline() or dot().")
    return _cleaned(drawing.svg, tuple(titles_of(model).items()))


def file_of(model: GraphData, *, format: str) -> bytes:
    """Draw the graph as "png" or "pdf".

    Raises:
        DrawingError: The ``dot`` program is missing, or it failed; says what to do.
    """
    return draw_file(dot_of(model), format)


@lru_cache(maxsize=64)
def _cleaned(svg: str, titles: tuple[tuple[str, str], ...]) -> str:
    """Cached as in `render`, since a notebook shows the same flow again and again."""
    return clean(svg, dict(titles))


def titles_of(model: GraphData) -> dict[str, str]:
    """Return the tooltip of each node of the drawing, by its id in DOT."""
    return {f"n{i}": _title(node) for i, node in enumerate(model.nodes)}


def _title(node: GraphNode) -> str:
    return ": ".join(shown(part) for part in (node.name, node.doc) if part)


def clean(svg: str, titles: Mapping[str, str]) -> str:
    """Return the drawing as a bare ``<svg>`` element, without links, scripts, comments and references.

    Args:
        svg: The output of Graphviz.
        titles: The text of ``<title>`` for groups with these ids; other titles are left out.

    The ids begin with a hash of the drawing, so that two drawings in one page do not share an id.
    """
    root = ElementTree.fromstring(svg.encode())
    digest = hashlib.sha256(repr((svg, sorted(titles.items()))).encode(errors="replace"))
    prefix = f"g{digest.hexdigest()[:10]}-"
    out: list[str] = []
    stack: list[ElementTree.Element | str] = [root]
    while stack:
        element = stack.pop()
        if isinstance(element, str):
            out.append(element)
            continue
        name = _name(element)
        if name not in ELEMENTS or name == "title":
            continue
        space = f' xmlns="http://www.w3.org/2000/svg" font-family="{FONT}"' if element is root else ""
        out.append(f"<{name}{space}{_attributes(element, prefix)}>")
        if element.get("id") in titles:
            out.append(f"<title>{escape(titles[element.attrib['id']])}</title>")
        if name == "text":
            out.append(escape(element.text or ""))
        if element.get("class") in ("node", "cluster"):
            _set_notes_small(element)
        stack.append("</svg>" if element is root else f"</{name}>\n")
        stack.extend(reversed(element))
    return "".join(out)


def _name(element: ElementTree.Element) -> str:
    return str(element.tag).removeprefix(_SPACE)


def _attributes(element: ElementTree.Element, prefix: str) -> str:
    found = []
    for name, value in element.attrib.items():
        if name not in ATTRIBUTES or not _VALUE.fullmatch(value) or value == FONT:  # the root element sets it once
            continue
        if name == "id":
            value = prefix + value
        elif value == "transparent":  # not a colour of SVG 1.1, and black in some programs
            value = "none"
        found.append(f' {name}="{value}"')  # the pattern allows nothing that needs escaping
    return "".join(found)


def _set_notes_small(group: ElementTree.Element) -> None:
    """Set the lines below the name in smaller type. Graphviz reserved room for the larger type."""
    for line in [child for child in group if _name(child) == "text"][1:]:
        line.set("font-size", SMALL)
