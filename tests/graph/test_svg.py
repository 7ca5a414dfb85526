"""Names that try to be more than text: safe and readable in every place where a name is shown."""

import re
import shutil
from xml.etree import ElementTree

import pytest

from llmflow_nb import BatchFlow, BatchNode, Flow, Node

BACKENDS = [
    "wasi",
    pytest.param(
        "dot", marks=pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz's dot is not on the PATH")
    ),
]

# What is given, and what of it is to be read.
HOSTILE = {
    "<script>alert(1)</script>": None,
    "<img src=x onerror=alert(1)>": None,
    "</text><script>alert(1)</script>": None,
    "]]><script>alert(1)</script>": None,
    '"><a href="javascript:alert(1)">x': None,
    '<<TABLE HREF="javascript:alert(1)"><TR><TD>click</TD></TR></TABLE>>': None,
    "<lambda>": None,
    "<b>x</b>": None,
    'a"];evil[URL="javascript:alert(1)"];"': None,
    "end\\": None,
    "\\N \\G \\L \\n \\l": None,
    "{rec|<p>port}": None,
    "a:b": None,
    "![x](https://evil.example/?q=1)": None,
    "=1+1": None,
    "&lt;b&gt; &amp;amp; &#60; AT&T": None,
    "graph": None,
    "Ünïcödé 模型 🙂": None,
    "two\nlines\tand\r\nmore": "two lines and more",
    "nul\x00 vt\x0b esc\x1b[31m": "nul\\x00 vt\\x0b esc\\x1b[31m",
    "\u202egnp.exe": "\\u202egnp.exe",
    "non\ufffe lone\ud800": "non\\ufffe lone\\ud800",
    "\x00": "\\x00",
    "A" * 10_000_000: "A" * 79 + "…",
}
PLACES = ["node name", "class name", "docstring", "action", "flow name", "batch flow name", "flow class"]


def build(place, text):
    """A flow that shows ``text`` in one place, and harmless words in the others."""
    words = {other: other for other in PLACES} | {place: text}
    cls = type(words["class name"], (BatchNode,), {})
    cls.__doc__ = words["docstring"]
    flow_cls = type(words["flow class"], (Flow,), {})
    node = cls(name=words["node name"])
    node - words["action"] >> BatchFlow(flow_cls(Node(name="inner"), name="inner flow"), name=words["batch flow name"])
    return Flow(node, name=words["flow name"])


def readable(place):
    """Each text that can be put there, with what of it is to be read."""
    for text, expected in HOSTILE.items():
        if place.startswith("docstring"):  # its first line is shown
            yield (
                text,
                {"two\nlines\tand\r\nmore": "two", "nul\x00 vt\x0b esc\x1b[31m": "nul\\x00 vt"}.get(
                    text, expected or text
                ),
            )
        elif "class" not in place or not set(text) & {"\x00", "\ud800"}:  # Python refuses to call a class that
            yield text, expected or text


def parsed(svg):
    return ElementTree.fromstring(svg)


def skeleton(svg):
    """Elements with their attributes' names, ids and classes: all but coordinates and text."""
    prefix = re.compile("^g[0-9a-f]{10}-")
    return [
        (element.tag, sorted(element.attrib), prefix.sub("", element.get("id", "")), element.get("class"))
        for element in parsed(svg).iter()
    ]


def seen(svg):
    """All text of the drawing, line by line."""
    return [element.text for element in parsed(svg).iter() if element.text]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("place", PLACES)
def test_a_hostile_name_is_text_like_any_other(place, backend, monkeypatch):
    """The drawing has the same elements and attributes as with a harmless name, and the name can be read."""
    monkeypatch.setenv("LLMFLOW_NB_GRAPHVIZ", backend)
    for text, expected in readable(place):
        svg = build(place, text).graph().svg()
        harmless = "h" * len(expected)  # as long, since notes are set in lines by their length
        assert skeleton(svg) == skeleton(build(place, harmless).graph().svg()), text[:100]
        assert any(expected in line for line in seen(svg)), (text[:100], seen(svg))


ELEMENTS = {"svg", "g", "title", "text", "path", "polygon", "rect", "ellipse", "style"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_drawing_refers_to_nothing(backend, monkeypatch):
    """It has shapes and texts only: no link, no script, no image, no handler, no address but that of SVG itself."""
    monkeypatch.setenv("LLMFLOW_NB_GRAPHVIZ", backend)
    svg = build("node name", "x").graph(legend=True).svg()
    assert svg.startswith("<svg ")
    assert not re.search(r"<!|<\?|url|@import|href", svg)
    assert re.findall('https?://[^"]*', svg) == ["http://www.w3.org/2000/svg"]
    for element in parsed(svg).iter():
        assert element.tag.removeprefix("{http://www.w3.org/2000/svg}") in ELEMENTS
        assert not [name for name in element.attrib if name.startswith("on") or name == "style"]


def test_the_style_sheet_is_always_the_same(monkeypatch):
    """It is written once, and holds nothing of the flow."""
    monkeypatch.setenv("LLMFLOW_NB_GRAPHVIZ", "wasi")
    [one] = re.findall("<style>(.*?)</style>", Flow(Node(name="a"), name="}evil{").graph().svg())
    [other] = re.findall("<style>(.*?)</style>", build("action", "@media").graph(legend=True).svg())
    assert one == other
    assert "evil" not in one


def test_titles_are_names_and_docstrings(monkeypatch):
    """The title of a node is its name with the first line of its docstring; nothing else has one."""
    monkeypatch.setenv("LLMFLOW_NB_GRAPHVIZ", "wasi")

    class Load(Node):
        """Read one file."""

    svg = Flow(Load(), name="Job").graph().svg()
    assert re.findall("<title>(.*?)</title>", svg) == ["Job", "Load: Read one file."]


def test_two_drawings_share_no_id_and_one_drawing_keeps_its_ids(monkeypatch):
    """Ids are made from the content, so a page can hold many drawings and a saved notebook compares equal."""
    monkeypatch.setenv("LLMFLOW_NB_GRAPHVIZ", "wasi")

    def ids(flow):
        return {element.get("id") for element in parsed(flow.graph().svg()).iter()} - {None}

    one, other = Flow(Node(name="a")), Flow(Node(name="b"))
    assert ids(one) == ids(one)
    assert not ids(one) & ids(other)
