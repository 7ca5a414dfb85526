"""Graphviz's SVG, made safe to show: what is not on the lists is left out, and what is left refers to nothing.

Every name in the drawing may come from a model, so the drawing is not trusted, whatever Graphviz made of it. It is read
by an XML parser and written anew from the lists below.
"""

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from html import escape
from xml.etree import ElementTree

from ..core.text import shown
from .model import GraphModel, GraphNode
from .render import DrawingError, draw

__all__ = ["clean", "svg_of"]

ELEMENTS = frozenset({"svg", "g", "title", "text", "path", "polygon", "polyline", "ellipse"})
# fmt: off
ATTRIBUTES = frozenset((
    "width", "height", "viewBox", "id", "class", "transform", "d", "points", "cx", "cy", "rx", "ry", "x", "y",
    "fill", "fill-opacity", "stroke", "stroke-opacity", "stroke-width", "stroke-dasharray",
    "text-anchor", "font-family", "font-size", "font-style", "font-weight",
))
# fmt: on
# Numbers, words, colours, lists of them. "url(...)" would refer to something.
_VALUE = re.compile(r"(?!.*url)[\w\s.,#%()+-]*", re.IGNORECASE | re.DOTALL)
SMALL = "9"
FONT = "Helvetica,Arial,sans-serif"
_SPACE = "{http://www.w3.org/2000/svg}"


def svg_of(model: GraphModel, backend: str | None = None) -> str:
    """Draw the graph. See `GraphModel.svg`.

    Raises:
        SettingError: No such backend.
        DrawingError: There is nothing to draw with, or it gave up; says what to do.
    """
    drawing = draw(model.dot(), backend)
    if drawing.svg is None:
        raise DrawingError(f"{shown(model.nodes[0].name)} cannot be drawn: {drawing.reason}. Use outline() or dot().")
    return _cleaned(drawing.svg, tuple(titles_of(model).items()))


@lru_cache(maxsize=64)
def _cleaned(svg: str, titles: tuple[tuple[str, str], ...]) -> str:
    """Keep the latest, as `render` does: a flow is shown again and again while it is worked on."""
    return clean(svg, dict(titles))


def titles_of(model: GraphModel) -> dict[str, str]:
    """Return what to say of each element of the drawing, by the id that it has in DOT."""
    return {f"n{i}": _title(node) for i, node in enumerate(model.nodes)}


def _title(node: GraphNode) -> str:
    return ": ".join(shown(part) for part in (node.name, node.doc) if part)


def clean(svg: str, titles: Mapping[str, str]) -> str:
    """Return the drawing as a bare ``<svg>`` element, without links, scripts, comments and references.

    Args:
        svg: What Graphviz wrote.
        titles: The text of ``<title>`` for groups with these ids; the other titles are left out.

    The ids begin with a hash of the drawing, so that two drawings in one page do not share any.
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
        if name not in ATTRIBUTES or not _VALUE.fullmatch(value) or value == FONT:  # that is said once, at the root
            continue
        if name == "id":
            value = prefix + value
        elif value == "transparent":  # no colour of SVG 1.1, and black to some programs
            value = "none"
        found.append(f' {name}="{value}"')  # in which, by the pattern, there is nothing to be escaped
    return "".join(found)


def _set_notes_small(group: ElementTree.Element) -> None:
    """Set the lines below the name in smaller type. Graphviz has one size for a label, so there is room for sure."""
    for line in [child for child in group if _name(child) == "text"][1:]:
        line.set("font-size", SMALL)
