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
from .model import GraphData
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
_VALUE = re.compile(r"[\w\s.,#%()+-]*", re.ASCII)
"""Numbers, words, colours, and lists of them."""
_SMALL = "9"
_SPACE = "{http://www.w3.org/2000/svg}"


def svg_of(model: GraphData, backend: str | None = None) -> str:
    """Draw the graph. See `GraphModel.svg`.

    Raises:
        SettingError: Unknown backend.
        DrawingError: No backend is available, or it failed; says what to do.
    """
    try:
        svg = draw(dot_of(model), backend)
    except DrawingError as exc:
        name = shown(model.nodes[0].name)
        raise DrawingError(f"{name} cannot be drawn: {exc}. Use outline() or dot().") from None
    titles = [": ".join(shown(part) for part in (node.name, node.doc) if part) for node in model.nodes]
    return _cleaned(svg, tuple((f"n{i}", title) for i, title in enumerate(titles)))


def file_of(model: GraphData, *, format: str) -> bytes:
    """Draw the graph as "png" or "pdf".

    Raises:
        DrawingError: The ``dot`` program is missing, or it failed; says what to do.
    """
    return draw_file(dot_of(model), format)


@lru_cache(maxsize=64)
def _cleaned(svg: str, titles: tuple[tuple[str, str], ...]) -> str:
    return clean(svg, dict(titles))


def clean(svg: str, titles: Mapping[str, str]) -> str:
    """Return the drawing as a bare ``<svg>`` element, without links, scripts, comments and references.

    The ids begin with a hash of the drawing, so that two drawings in one page do not share an id.

    Args:
        svg: The output of Graphviz.
        titles: The text of ``<title>`` for groups with these ids; other titles are left out.
    """
    source = svg.encode()
    digest = hashlib.sha256(source + repr(titles).encode()).hexdigest()
    attributes = _Attributes(f"g{digest[:10]}-")
    out: list[str] = []

    def write(element: ElementTree.Element, namespace: str = "") -> None:
        name = element.tag.removeprefix(_SPACE)
        if name not in ELEMENTS or name == "title":
            return
        out.append(f"<{name}{namespace}{''.join(map(attributes.__getitem__, element.items()))}>")
        title = titles.get(element.get("id", ""))
        if title is not None:
            out.append(f"<title>{escape(title)}</title>")
        if name == "text":
            out.append(escape(element.text or ""))
        for child in element:
            write(child)
        out.append(f"</{name}>\n")

    root = ElementTree.fromstring(source)
    for group in root.iterfind(f".//{_SPACE}g"):
        if group.get("class") in ("node", "cluster"):
            # The lines below the name are set in smaller type. Graphviz reserved room for the larger type.
            for line in group.findall(f"{_SPACE}text")[1:]:
                line.set("font-size", _SMALL)
    write(root, f' xmlns="http://www.w3.org/2000/svg" font-family="{FONT}"')
    return "".join(out).rstrip("\n")


class _Attributes(dict[tuple[str, str], str]):
    """Each attribute as it is written, by its name and value; "" if it is not allowed."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def __missing__(self, attribute: tuple[str, str]) -> str:
        name, value = attribute
        is_safe = _VALUE.fullmatch(value) and "url" not in value.lower()  # "url(...)" would be a reference
        if name not in ATTRIBUTES or not is_safe or value == FONT:  # the root element sets the font once
            text = ""
        elif name == "id":
            text = f' id="{self.prefix}{value}"'
        elif value == "transparent":  # not a colour of SVG 1.1, and black in some programs
            text = f' {name}="none"'
        else:
            text = f' {name}="{value}"'  # the pattern allows nothing that needs escaping
        self[attribute] = text
        return text
