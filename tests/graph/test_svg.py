"""Names that try to be more than text: safe and readable in every place where a name is shown."""

import itertools
import re
import shutil
from xml.etree import ElementTree

import pytest

from llmflow_nb import BatchFlow, BatchNode, Flow, Node
from llmflow_nb.graph.builder import graph_of
from llmflow_nb.notebook.run_graph import graph_of_run

BACKENDS = [
    "wasi",
    pytest.param(
        "dot", marks=pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz's dot is not on the PATH")
    ),
]

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


def parsed(svg):
    return ElementTree.fromstring(svg)


@pytest.mark.parametrize("place", PLACES)
def test_a_text_of_a_million_characters_is_cut(place, monkeypatch):
    """What else a text can be is said by the laws of graphs, which draw any texts in all places."""
    monkeypatch.setenv("LLMFLOW_NB_GRAPHVIZ", "wasi")
    svg = build(place, "A" * 1_000_000).graph().svg()
    assert f"{'A' * 79}…" in svg
    assert len(svg) < 10_000


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


def test_a_node_that_leads_to_itself_is_drawn(monkeypatch):
    """A node outside of a flow is drawn with its loop."""
    monkeypatch.setenv("LLMFLOW_NB_GRAPHVIZ", "wasi")
    node = Node(name="Ask")
    node - "again" >> node
    assert "again" in parsed(node.graph().svg()).itertext()


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


def test_a_drawing_tells_open_flows_from_closed_ones():
    """The group of an open flow has the class "frame", that of a closed flow the class "closed", in a run too."""
    first = Flow(Node(name="x"), name="inner")
    first >> Flow(Node(name="y"), name="open")
    flow = Flow(first, name="F")
    flow.run({})
    closed = ["F/inner"]
    for model in (graph_of(flow, closed=closed), graph_of_run(flow.last_run, closed=closed)):
        found = {group.get("id", "")[12:]: group.get("class", "").split() for group in parsed(model.svg()).iter()}
        classes = {node.name: found[f"n{i}"] for i, node in enumerate(model.nodes)}
        assert [name for name in classes if "frame" in classes[name]] == ["F", "open"]
        assert [name for name in classes if "closed" in classes[name]] == ["inner"]


class Judge(Node):
    def post(self, shared, prep_res, exec_res):
        return "good" if exec_res else "bad"


def chain_of_judges(count):
    judges = [Judge(name=f"Judge {i}") for i in range(count)]
    for judge, after in itertools.pairwise(judges):
        judge - "goood" >> after
    return Flow(judges[0])


def test_a_missing_edge_of_a_class_is_drawn_once():
    """The nodes of one class lack the same edge: it is drawn at the first of them, not thirty times."""
    flow = chain_of_judges(30)
    wrong = [group for group in parsed(flow.graph().svg()).iter() if "wrong" in group.get("class", "").split()]
    assert ["".join(group.itertext()) for group in wrong if "edge" in group.get("class")] == ["bad, good"]
    assert len(flow.check()) < 5


def test_a_missing_edge_is_drawn_where_the_run_ended():
    """Whatever is drawn elsewhere, the end of the run is."""
    flow = chain_of_judges(3)
    flow.start_node - "bad" >> flow.start_node.successors["goood"]
    with pytest.warns(UserWarning, match="Flow ends"):
        flow.run({})
    taken = [path for path in parsed(flow.last_run.graph().svg()).iter() if path.get("stroke-width") == "2.5"]
    assert len(taken) == 3  # the start, an edge, the end


def test_a_legend_names_an_end_only_if_one_is_drawn():
    """A flow whose steps never end it has no ring, even if an edge leads on from it."""

    class Again(Node):
        def post(self, shared, prep_res, exec_res):
            return "again"

    step = Again()
    step - "again" >> step
    inner = Flow(step, name="Inner")
    inner >> inner
    assert "\u25ce end" not in Flow(inner).graph(legend=True).svg()


def test_many_exits_have_a_ring_each():
    """Up to three lines lead to one ring. With more of them, each has its own beside its step."""
    for count, rings in ((3, 1), (4, 4)):
        first = Node()
        for i in range(count):
            first - f"way {i}" >> Node()
        assert Flow(first).graph().svg().count('class="ring"') == rings


def test_a_tangled_flow_is_drawn():
    """Graphviz needs many seconds for 140 steps with edges all over them, so it is told to hurry."""
    steps = [Node() for _ in range(140)]
    for i, step in enumerate(steps):
        for after in (i + 1, 37 * i % 140):
            step - f"to {after}" >> steps[after % 140]
    assert Flow(steps[0]).graph().svg().count('class="edge"') == 281
